"""More of the same table: texts as people post them in threads, by library, and their look-alikes."""

from __future__ import annotations

from support.out_of_memory_texts import DEVICE, GIB, HOST, MIB, NCCL, TF, XLA, Text

OP = type("OpError", (Exception,), {})
ONNX_STATE = "onnxruntime.capi.onnxruntime_pybind11_state."

OUT_OF_MEMORY = [
    # torch, CUDA
    Text(
        "torch 2.9, WSL",
        "torch.OutOfMemoryError",
        "CUDA out of memory. Tried to allocate 786.00 MiB. GPU 0 has a total capacity of 15.93 GiB of which 0 bytes is "
        "free. Including non-PyTorch memory, this process has 17179869184.00 GiB memory in use. Of the allocated "
        "memory 26.41 GiB is allocated by PyTorch, and 44.12 MiB is reserved by PyTorch but unallocated.",
        DEVICE,
        786 * MIB,
        device="cuda:0",
    ),
    Text(
        "torch 2.3, a MIG slice",
        "RuntimeError",
        'NVML_SUCCESS == r INTERNAL ASSERT FAILED at "../c10/cuda/CUDACachingAllocator.cpp":1131, please report a bug '
        "to PyTorch. ",
        DEVICE,
    ),
    Text(
        "torch 2.6, a container",
        "RuntimeError",
        "NVML_SUCCESS == DriverAPI::get()->nvmlInit_v2_() INTERNAL ASSERT FAILED at "
        '"/pytorch/c10/cuda/CUDACachingAllocator.cpp":963, please report a bug to PyTorch. ',
        DEVICE,
    ),
    Text(
        "torch, cudaMallocAsync",
        "torch.OutOfMemoryError",
        "Allocation on device 1 would exceed allowed memory. (out of memory)\nCurrently allocated     : 13.87 GiB\n"
        "Requested               : 72.00 MiB\nDevice limit            : 15.77 GiB\nFree (according to CUDA): "
        "10.31 MiB\nPyTorch limit (set by user-supplied memory fraction)\n                        : 17179869184.00 GiB",
        DEVICE,
        72 * MIB,
        device="cuda:1",
    ),
    Text(
        "torch 1.0",
        "RuntimeError",
        "CUDA out of memory. Tried to allocate 14.25 MiB (GPU 3; 11.17 GiB total capacity; 9.83 MiB already allocated; "
        "9.06 GiB free; 5.11 MiB cached)",
        DEVICE,
        int(14.25 * MIB),
        device="cuda:3",
    ),
    Text(
        "torch, a replica",
        "torch.OutOfMemoryError",
        "Caught OutOfMemoryError in replica 1 on device 1.\nOriginal Traceback (most recent call last):\n"
        "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 314.00 MiB. GPU 1 has a total capacity of 10.57 "
        "GiB of which 208.00 MiB is free.",
        DEVICE,
        314 * MIB,
        device="cuda:1",
    ),
    Text(
        "torch, the device's start",
        "RuntimeError",
        "Unexpected error from cudaGetDeviceCount(). Did you run some cuda functions before calling NumCudaDevices() "
        "that might have already set an error? Error 2: out of memory",
        DEVICE,
    ),
    Text("torch, cudart", "torch.cuda.CudaError", "out of memory (2)", DEVICE),
    Text(
        "torch cuDNN 9",
        "RuntimeError",
        "cuDNN Frontend error: cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
        DEVICE,
    ),
    Text(
        "torch cuDNN 9",
        "RuntimeError",
        "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED",
        HOST,
    ),
    Text(
        "caffe2",
        "RuntimeError",
        "[enforce fail at context_gpu.cu:343] error == cudaSuccess. 2 vs 0. Error at: /pytorch/caffe2/core/"
        "context_gpu.cu:343: out of memory",
        DEVICE,
    ),
    Text(
        "flash-attn",
        "RuntimeError",
        "CUDA error (/tmp/flash-attention/csrc/flash_attn/src/flash_bwd_launch_template.h:92): out of memory",
        DEVICE,
    ),
    Text(
        "triton, AMD",
        "RuntimeError",
        "Triton Error [HIP]:  Code: 2, Messsage: out of memory",
        DEVICE,
    ),
    Text(
        "TransformerEngine",
        "RuntimeError",
        "/TransformerEngine/transformer_engine/common/gemm/cublaslt_gemm.cu:412 in function cublas_gemm: cuBLAS Error: "
        "the resource allocation failed",
        DEVICE,
    ),
    Text("nvdiffrast", "RuntimeError", "Cuda error: 2[cudaMalloc(&m_gpuPtr, bytes);]", DEVICE),
    Text(
        "vLLM",
        "RuntimeError",
        "CUDA out of memory occurred when warming up sampler with 512 dummy requests. Please try lowering "
        "`max_num_seqs` or `gpu_memory_utilization` when initializing the engine.",
        DEVICE,
    ),
    Text(
        "ray, a task",
        "ray.exceptions.RayTaskError(OutOfMemoryError)",
        '\x1b[36mray::Worker.train()\x1b[39m (pid=811, ip=10.0.0.3)\n  File "/app/train.py", line 88, in train\n'
        "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 640.00 MiB. GPU 0 has a total capacity",
        DEVICE,
        640 * MIB,
        type("RayTaskError", (Exception,), {"__module__": "ray.exceptions"}),
        "cuda:0",
    ),
    # torch on other accelerators
    Text(
        "torch XPU 2.12",
        "torch.OutOfMemoryError",
        "XPU out of memory. Tried to allocate 1.12 GiB. GPU 1 has a total capacity of 23.91 GiB of which 402.00 MiB is "
        "free. 21.50 GiB allowed; Of the allocated memory 20.88 GiB is allocated by PyTorch, and 96.00 MiB is reserved "
        "by PyTorch but unallocated. Please use `empty_cache` to release all unoccupied cached memory.",
        DEVICE,
        int(1.12 * GIB),
        device="xpu:1",
    ),
    Text(
        "IPEX 2.1",
        "RuntimeError",
        "XPU out of memory. Tried to allocate 1.25 GiB (GPU 0; 15.91 GiB total capacity; 1.02 GiB already allocated; "
        "1.02 GiB reserved in total by PyTorch)",
        DEVICE,
        1280 * MIB,
        device="xpu:0",
    ),
    Text("IPEX 2.0", "RuntimeError", "Allocation is out of device memory on current platform.", DEVICE),
    Text(
        "SYCL",
        "RuntimeError",
        "Native API failed. Native API returns: 39 (UR_RESULT_ERROR_OUT_OF_DEVICE_MEMORY)",
        DEVICE,
    ),
    Text(
        "tensorflow, Intel",
        TF + "ResourceExhaustedError",
        "{{function_node __wrapped__AddV2_device_/job:localhost/replica:0/task:0/device:XPU:0}} OOM when allocating "
        "tensor with shape[5,5,1280,640] and type float on /job:localhost/replica:0/task:0/device:XPU:0 by allocator "
        "Simple allocator [Op:AddV2]",
        DEVICE,
        5 * 5 * 1280 * 640 * 4,
        OP,
    ),
    Text(
        "habana",
        "RuntimeError",
        "FATAL ERROR :: MODULE:SYNHELPER workspace Allocation of size ::12884901888 failed!",
        DEVICE,
        12 * GIB,
    ),
    Text("torch_npu", "RuntimeError", "NPU out of memory. Tried to allocate more than 1EB memory.", DEVICE, 2**60),
    Text(
        "torch_npu",
        "RuntimeError",
        "The Inner error is reported as above.\n[ERROR] 2025-03-04-10:11:12 (PID:771, Device:3, RankID:-1) ERR00100 "
        "PTA call acl api failed\nEL0004: [PID: 771] Failed to allocate memory.\n        Possible Cause: "
        "Available memory is insufficient.\n        Solution: Close applications not in use.",
        DEVICE,
    ),
    Text(
        "torch-directml",
        "RuntimeError",
        "Could not allocate tensor with 536870912 bytes. There is not enough GPU video memory available!",
        DEVICE,
        512 * MIB,
    ),
    # Windows
    Text(
        "safetensors, windows",
        "OSError",
        "The paging file is too small for this operation to complete. (os error 1455)",
        HOST,
    ),
    Text("safetensors, windows", "OSError", "页面文件太小，无法完成操作。 (os error 1455)", HOST),
    Text(
        "safetensors, windows",
        "safetensors_rust.SafetensorError",
        "Error while deserializing header: I/O error: Die Auslagerungsdatei ist zu klein, um diesen Vorgang "
        "durchzuführen. (os error 1455)",
        HOST,
        None,
        Exception,
    ),
    Text(
        "torch, windows",
        "OSError",
        '[WinError 1455] The paging file is too small for this operation to complete. Error loading "C:\\env\\Lib\\'
        'site-packages\\torch\\lib\\cudnn_adv_infer64_8.dll" or one of its dependencies.',
        HOST,
    ),
    Text(
        "a library of C, windows",
        "ImportError",
        "DLL load failed while importing _C: The paging file is too small for this operation to complete.",
        HOST,
    ),
    Text(
        "torch, shared tensors, windows",
        "RuntimeError",
        "Couldn't open shared file mapping: <torch_11532_88713_4>, error code: <1455>",
        HOST,
    ),
    Text(
        "onnxruntime, DirectML",
        ONNX_STATE + "RuntimeException",
        "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Exception during initialization: D:\\a\\_work\\1\\s\\"
        "onnxruntime\\core\\providers\\dml\\DmlExecutionProvider\\src\\BucketizedBufferAllocator.cpp(122)\\"
        "onnxruntime.pyd: (caller: 00007FF) Exception(1) tid(2f8) 8007000E Not enough memory resources are available "
        "to complete this operation.",
        None,
        None,
        Exception,
    ),
    # the host
    Text(
        "numpy 1",
        "numpy.core._exceptions._ArrayMemoryError",
        "Unable to allocate 768. MiB for an array with shape (100663296,) and data type object",
        HOST,
        768 * MIB,
        MemoryError,
    ),
    Text(
        "pandas",
        "pandas.errors.ParserError",
        "Error tokenizing data. C error: out of memory",
        HOST,
        None,
        ValueError,
    ),
    Text("lmdb", "lmdb.MemoryError", "data/train_lmdb: Cannot allocate memory", HOST, None, Exception),
    Text(
        "duckdb",
        "duckdb.OutOfMemoryException",
        "Out of Memory Error: failed to allocate data of size 32.0 MiB (24.9 GiB/25.1 GiB used)",
        HOST,
        32 * MIB,
        Exception,
    ),
    Text(
        "dask",
        "MemoryError",
        "Task 'getitem-4f1c' has 11.62 GiB worth of input dependencies, but worker tcp://127.0.0.1:40021 has "
        "memory_limit set to 7.45 GiB.",
        HOST,
    ),
    Text(
        "polars",
        "pyo3_runtime.PanicException",
        "called `Result::unwrap()` on an `Err` value: TryReserveError { kind: AllocError { layout: Layout { size: "
        "34359738368, align: 8 (1 << 3) }, non_exhaustive: () } }",
        HOST,
        None,
        BaseException,
    ),
    Text(
        "paddle, the host",
        "MemoryError",
        "\n\nC++ Traceback (most recent call last):\nError Message Summary:\nResourceExhaustedError: Fail to alloc "
        "memory of 3221225472 size, error code is 12.",
        HOST,
        3 * GIB,
    ),
    Text(
        "tensorflow, a file",
        TF + "ResourceExhaustedError",
        "/data/records/part-00021.tfrecord; Cannot allocate memory [Op:IteratorGetNext]",
        HOST,
        None,
        OP,
    ),
    Text(
        "torch shm",
        "RuntimeError",
        "unable to allocate shared memory(shm) for file </torch_29919_2081_0>: Cannot allocate memory (12)",
        HOST,
    ),
    Text(
        "torch, a loader's start",
        "RuntimeError",
        "unable to open shared memory object </torch_881_402_17> in read-write mode: Cannot allocate memory (12)",
        HOST,
    ),
    Text("onnxruntime", ONNX_STATE + "Fail", "[ONNXRuntimeError] : 1 : FAIL : bad allocation", HOST, None, Exception),
    Text("pyav", "av.error.MemoryError", "[Errno 12] Cannot allocate memory: 'clip.mp4'", HOST, None, MemoryError),
    # other libraries of the GPU
    Text(
        "xgboost 1.7",
        "xgboost.core.XGBoostError",
        "[22:22:41] /workspace/src/tree/updater_gpu_hist.cu:712: Exception in gpu_hist: [22:22:41] /workspace/src/"
        "common/device_helpers.cuh:428: Memory allocation error on worker 3: Caching allocator\n- Free memory: "
        "231735296\n- Requested memory: 901775360\n",
        DEVICE,
        860 * MIB,
        ValueError,
    ),
    Text(
        "xgboost 3",
        "xgboost.core.XGBoostError",
        "[09:51:02] /workspace/src/common/device_vector.cu:23: Memory allocation error on worker 0: std::bad_alloc: "
        "cudaErrorMemoryAllocation: out of memory\n- Free memory: 4.5GB\n- Requested memory: 9.5GB\n",
        DEVICE,
        int(9.5 * GIB),
        ValueError,
    ),
    Text(
        "thrust",
        "RuntimeError",
        "radix_sort: failed on 1st step: cudaErrorMemoryAllocation: out of memory",
        DEVICE,
    ),
    Text("MinkowskiEngine", "MemoryError", "std::bad_alloc: cudaErrorMemoryAllocation: out of memory", DEVICE),
    Text(
        "MinkowskiEngine",
        "MemoryError",
        "std::bad_alloc: temporary_buffer::allocate: get_temporary_buffer failed",
        DEVICE,
    ),
    Text(
        "RMM",
        "MemoryError",
        "std::bad_alloc: out_of_memory: RMM failure at:/env/include/rmm/mr/device/limiting_resource_adaptor.hpp:143: "
        "Exceeded memory limit",
        DEVICE,
    ),
    Text(
        "cudf",
        "RuntimeError",
        "CUDA error encountered at: /cudf/cpp/src/io/parquet/reader_impl.cu:217: 2 cudaErrorMemoryAllocation out of "
        "memory",
        DEVICE,
    ),
    Text(
        "cupy 13",
        "cupy.cuda.memory.OutOfMemoryError",
        "Out of memory allocating 402,653,184 bytes (allocated so far: 10,737,418,240 bytes, limit set to: "
        "10,900,000,000 bytes).",
        DEVICE,
        384 * MIB,
        MemoryError,
    ),
    Text("cupy, cuFFT", "cupy.cuda.cufft.CuFFTError", "CUFFT_ALLOC_FAILED", DEVICE),
    Text(
        "dgl",
        "dgl._ffi.base.DGLError",
        "[10:01:17] /opt/dgl/src/runtime/cuda/cuda_device_api.cc:117: Check failed: e == cudaSuccess || e == "
        "cudaErrorCudartUnloading: CUDA: out of memory",
        DEVICE,
        None,
        Exception,
    ),
    Text(
        "mxnet",
        "mxnet.base.MXNetError",
        "[21:40:02] src/storage/./pooled_storage_manager.h:161: cudaMalloc retry failed: out of memory",
        DEVICE,
        None,
        RuntimeError,
    ),
    Text(
        "onnxruntime",
        ONNX_STATE + "RuntimeException",
        "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Exception during initialization: CUDA failure 2: out of memory ; "
        "GPU=0 ; hostname=node7 ; expr=cudaMalloc((void**)&p, size); ",
        DEVICE,
        None,
        Exception,
    ),
    Text(
        "pyopencl",
        "pyopencl._cl.MemoryError",
        "create_buffer failed: MEM_OBJECT_ALLOCATION_FAILURE",
        DEVICE,
        None,
        Exception,
    ),
    Text("warp", "RuntimeError", "Failed to allocate 1073741824 bytes on device 'cuda:0'", DEVICE, GIB),
    Text(
        "opencv",
        "cv2.error",
        "OpenCV(4.10.0) /io/opencv_contrib/modules/cudev/src/gpu_mat.cu:116: error: (-217:Gpu API call) out of memory "
        "in function 'allocate'",
        DEVICE,
        None,
        Exception,
    ),
    # TensorFlow, JAX and XLA
    Text(
        "tensorflow 2.15",
        TF + "ResourceExhaustedError",
        "Graph execution error:\n\nDetected at node model/conv2d_7/Conv2D defined at (most recent call last):\nOOM "
        "when allocating tensor with shape[48,256,96,96] and type half on /job:localhost/replica:0/task:0/device:GPU:1 "
        "by allocator GPU_1_bfc\n\t [[{{node model/conv2d_7/Conv2D}}]]",
        DEVICE,
        48 * 256 * 96 * 96 * 2,
        OP,
    ),
    Text(
        "tensorflow", TF + "InternalError", "cudaSetDevice() on GPU:0 failed. Status: out of memory", DEVICE, None, OP
    ),
    Text(
        "jax, cuDNN",
        XLA,
        "UNKNOWN: Failed to determine best cudnn convolution algorithm for:\n%cudnn-conv.4 = (f32[1,64,1024,1024]) "
        "custom-call(...)\n\nOriginal error: INTERNAL: All algorithms tried failed. Per-algorithm errors:\n  Profiling "
        "failure on cuDNN engine 0: RESOURCE_EXHAUSTED: Allocating 2147483648 bytes exceeds the memory limit of "
        "4294967296 bytes.",
        DEVICE,
        2 * GIB,
    ),
    Text(
        "jax 0.6, TPU",
        XLA,
        "RESOURCE_EXHAUSTED: Error allocating device buffer: Attempting to allocate 2.00G. That was not possible. "
        "There are 1.19G free.; (0x0x0_HBM0)",
        DEVICE,
        2 * GIB,
    ),
    Text(
        "torch_xla, TPU",
        "RuntimeError",
        "Resource exhausted: From /job:tpu_worker/replica:0/task:0:\nAttempting to reserve 3.75G at the bottom of "
        "memory. That was not possible. There are 1.92G free, 0B reserved, and 1.92G reservable.; \nHBM capacity 8.00G",
        DEVICE,
        3840 * MIB,
    ),
    Text(
        "jax, TPU",
        XLA,
        "RESOURCE_EXHAUSTED: Allocation (size=17179869184) would exceed memory (size=17179869184) :: #allocation7 "
        "[shape = 'u8[17179869184]{0}', space=hbm, size = 0xffffffffffffffff]",
        DEVICE,
        16 * GIB,
    ),
    Text(
        "jax, cuBLAS",
        XLA,
        "INTERNAL: jaxlib/gpu/blas_handle_pool.cc:45: operation cublasCreate(&handle) failed: the resource allocation "
        "failed",
        DEVICE,
    ),
    # a second round
    Text(
        "tensorrt",
        "RuntimeError",
        "[executionContext.cpp::initializeExecutionContext::644] Error Code 2: OutOfMemory (Requested size was "
        "16654532608 bytes.)",
        DEVICE,
        16654532608,
    ),
    Text(
        "tensorflow, ROCm",
        TF + "InternalError",
        "failed to allocate 896.00M (939524096 bytes) from device: HIP_ERROR_OutOfMemory",
        DEVICE,
        896 * MIB,
        OP,
    ),
    Text(
        "tensorflow",
        TF + "InternalError",
        "failed to allocate 7.50G (8053063680 bytes) from device: CUDA_ERROR_OUT_OF_MEMORY: out of memory",
        DEVICE,
        7680 * MIB,
        OP,
    ),
    Text("pyarrow, datasets", "OSError", "Memory mapping file failed: Cannot allocate memory", HOST),
    Text(
        "numba",
        "numba.cuda.cudadrv.driver.CudaAPIError",
        "Call to cuMemAlloc results in CUDA_ERROR_OUT_OF_MEMORY",
        DEVICE,
        None,
        Exception,
    ),
    Text(
        "kaldi",
        "RuntimeError",
        "Failed to allocate a memory region of 15728640 bytes.  Possibly this is due to sharing the GPU.",
        DEVICE,
        15 * MIB,
    ),
    Text(
        "jittor",
        "RuntimeError",
        "[f 0926 09:44:26.558573 04 executor.cc:682] Execute fused operator(757/1225) failed.\nReason: [f "
        "cuda_device_allocator.cc:33] Unable to alloc cuda device memory for size 1073741824",
        DEVICE,
        GIB,
    ),
    Text(
        "jittor",
        "RuntimeError",
        "*******************\nGPU memory is overflow, please reduce your batch_size or data size!\nTotal: 11GB "
        "Used: 11.4GB",
        DEVICE,
    ),
    Text(
        "mindspore",
        "RuntimeError",
        "Device(id:0) memory isn't enough and alloc failed, kernel name: Default/network/Conv2D-op32, alloc "
        "size: 3221225472B.",
        DEVICE,
        3 * GIB,
    ),
    Text(
        "RMM",
        "MemoryError",
        "std::bad_alloc: CUDA error at: /env/include/rmm/mr/device/cuda_memory_resource.hpp:70: "
        "cudaErrorMemoryAllocation out of memory",
        DEVICE,
    ),
    Text(
        "jax 0.7",
        XLA,
        "RESOURCE_EXHAUSTED: Out of memory while trying to allocate 5.00GiB with allocator GPU_0_bfc.",
        DEVICE,
        5 * GIB,
    ),
    Text(
        "unsloth/accelerate",
        "RuntimeError",
        "CUDA driver error: out of memory\nDevice-side assertion tracking was not enabled",
        DEVICE,
    ),
    # a third round, of 2024 to 2026
    Text(
        "vLLM 0.11, waking up",
        "RuntimeError",
        "CUDA Error: out of memory at /workspace/csrc/cumem_allocator.cpp:149",
        DEVICE,
    ),
    Text(
        "vLLM, a worker",
        "RuntimeError",
        "Worker failed with error 'CUDA out of memory. Tried to allocate 896.00 MiB. GPU 3 has a total capacity of "
        "44.40 GiB of which 90.31 MiB is free.', please check the stack trace above for the root cause",
        DEVICE,
        896 * MIB,
        device="cuda:3",
    ),
    Text(
        "unsloth 2025",
        "RuntimeError",
        "Unsloth: No or negligible GPU memory available for fused cross entropy.",
        DEVICE,
    ),
    Text("torch 2.3, ComfyUI", "torch.OutOfMemoryError", "Allocation on device ", DEVICE),
    Text(
        "tensorflow, pinned",
        TF + "InternalError",
        "failed to alloc 8589934592 bytes on host: CUDA_ERROR_OUT_OF_MEMORY: out of memory",
        HOST,
        8 * GIB,
        OP,
    ),
    Text(
        "torch_xla 2.7, TPU",
        "RuntimeError",
        "Bad StatusOr access: RESOURCE_EXHAUSTED: Error loading program 'SyncTensorsGraph.91': Attempting to "
        "reserve 7.50G at the bottom of memory. That was not possible. There are 6.10G free, 0B reserved, and 6.10G "
        "reservable.",
        DEVICE,
        7680 * MIB,
    ),
    Text(
        "torch_neuron",
        "RuntimeError",
        "Bad StatusOr access: RESOURCE_EXHAUSTED: nrt_tensor_allocate status=4, error message=Allocation Failure",
        DEVICE,
    ),
    Text(
        "torch_mlu",
        "RuntimeError",
        "MLU out of memory. Tried to allocate 256.00 MiB (MLU 2; 79.13 GiB total capacity; 74.00 GiB already "
        "allocated; 74.50 GiB reserved in total by PyTorch)",
        DEVICE,
        256 * MIB,
    ),
    Text(
        "torch_musa",
        "RuntimeError",
        "MUSA out of memory. Tried to allocate 2.00 GiB (GPU 4; 47.65 GiB total capacity; 40.50 GiB already "
        "allocated; 1.07 GiB free; 42.00 GiB reserved in total by PyTorch)",
        DEVICE,
        2 * GIB,
    ),
    Text(
        "torch MPS, the shared pool",
        "RuntimeError",
        "MPS backend out of memory (MPS allocated: 14.00 GiB, other allocations: 4.10 GiB, max allowed: 18.13 GiB). "
        "Tried to allocate 256 bytes on shared pool. Use PYTORCH_MPS_HIGH_WATERMARK_RATIO=0.0 to disable upper limit",
        DEVICE,
        256,
    ),
    Text(
        "RMM 25",
        "MemoryError",
        "std::bad_alloc: out_of_memory: CUDA error (failed to allocate 6442450944 bytes) at: /env/include/rmm/mr/"
        "device/cuda_async_view_memory_resource.hpp:119: cudaErrorMemoryAllocation out of memory",
        DEVICE,
        6 * GIB,
    ),
    Text(
        "taichi",
        "RuntimeError",
        "[llvm_runtime_executor.cpp:operator()@41] Out of CUDA pre-allocated memory.\nConsider using "
        "ti.init(device_memory_fraction=0.9) or ti.init(device_memory_GB=4) to allocate more GPU memory",
        DEVICE,
    ),
    Text(
        "openmm",
        "openmm.OpenMMException",
        "Error creating array posq: CUDA_ERROR_OUT_OF_MEMORY (2)",
        DEVICE,
        None,
        Exception,
    ),
    Text("torchcodec", "RuntimeError", "Could not push packet to decoder: Cannot allocate memory", HOST),
    Text(
        "jax, a callback",
        XLA,
        'INTERNAL: CpuCallback error calling callback: Traceback (most recent call last):\n  File "aug.py", line 31, '
        "in crop\nMemoryError: Unable to allocate 2.00 GiB for an array with shape (268435456,) and data type float64",
        HOST,
        2 * GIB,
    ),
    Text("DeepEP", "RuntimeError", "Failed: CUDA error /tmp/DeepEP/csrc/deep_ep.cpp:103 'out of memory'", DEVICE),
]

SOMETHING_ELSE = [
    Text(
        "torch 2.7, Inductor: the chip's own memory",
        "torch.OutOfMemoryError",
        "out of resource: triton_red_fused_mul_3 Required: 270336 Hardware limit:232448 Reducing block sizes or "
        "`num_stages` may help.",
    ),
    Text(
        "torch 2.7, Inductor",
        "torch._inductor.exc.InductorError",
        "RuntimeError: No valid triton configs. OutOfMemoryError: out of resource: triton_tem_fused_1 Required: 270336 "
        "Hardware limit:232448 Reducing block sizes or `num_stages` may help.",
    ),
    Text(
        "triton, Blackwell",
        "triton.runtime.errors.OutOfResources",
        "out of resource: tensor memory, Required: 640, Hardware limit: 512. Reducing block sizes or `num_stages` may "
        "help.",
        base=Exception,
    ),
    Text(
        "vLLM, a length",
        "ValueError",
        "To serve at least one request with the models's max seq len (32768), (4.00 GiB KV cache is needed, which is "
        "larger than the available KV cache memory (2.31 GiB).",
    ),
    Text(
        "sglang",
        "RuntimeError",
        "The memory capacity is unbalanced. Some GPUs may be occupied by other processes. pre_model_load_memory=3.2, "
        "local_gpu_memory=78.1",
    ),
    Text(
        "sglang, a budget",
        "RuntimeError",
        "Not enough memory. Please try to increase --mem-fraction-static. Current value: mem_fraction_static=0.4",
    ),
    Text(
        "a service",
        "openai.InternalServerError",
        "Error code: 500 - {'error': {'message': 'CUDA out of memory. Tried to allocate 2.00 GiB'}}",
        base=Exception,
    ),
    Text("torch, pinned", "RuntimeError", "Pin memory thread exited unexpectedly"),
    Text("cuDNN", "RuntimeError", "cuDNN Frontend error: [cudnn_frontend] Error: No valid execution plans built."),
    Text(
        "jax, on the chip",
        XLA,
        "RESOURCE_EXHAUSTED: Shared memory size limit exceeded: requested 262144, available: 232448",
    ),
    Text(
        "torch",
        "RuntimeError",
        "cuDNN error: CUDNN_STATUS_NOT_SUPPORTED. This error may appear if you passed in a non-contiguous input.",
    ),
    Text("torch", "RuntimeError", "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR"),
    Text("torch", "RuntimeError", "CUDA error: CUBLAS_STATUS_INVALID_VALUE when calling `cublasGemmEx`"),
    Text("torch", "RuntimeError", "CUDA error: invalid configuration argument"),
    Text("torch", "RuntimeError", "CUDA error: uncorrectable ECC error encountered"),
    Text("torch", "RuntimeError", "CUDA error: part or all of the requested memory range is already mapped"),
    Text("torch", "RuntimeError", "CUDA error: operation not permitted when stream is capturing"),
    Text("torch, pinned", "RuntimeError", "CUDA error: invalid argument"),
    Text("torch cuDNN", "RuntimeError", "GET was unable to find an engine to execute this computation"),
    Text("torch", "RuntimeError", "Storage size calculation overflowed with sizes=[1000000, 1000000, 1000000, 64]"),
    Text("torch 0.4", "RuntimeError", "$ Torch: invalid memory size -- maybe an overflow? at THGeneral.cpp:188"),
    Text(
        "torch, another assertion",
        "RuntimeError",
        '!block->expandable_segment_ INTERNAL ASSERT FAILED at "../c10/cuda/CUDACachingAllocator.cpp":2501, please '
        "report a bug to PyTorch. Block should be expandable",
    ),
    Text("torch shm, windows", "RuntimeError", "Couldn't open shared file mapping: <torch_7_1>, error code: <2>"),
    Text(
        "torch XPU",
        "RuntimeError",
        "The device (Intel(R) Arc(TM) Graphics) doesn't support querying the available free memory.",
    ),
    Text("oneDNN", "RuntimeError", "could not create a primitive descriptor for a matmul primitive"),
    Text(
        "gloo",
        "RuntimeError",
        "[../third_party/gloo/gloo/transport/tcp/pair.cc:534] Connection closed by peer [10.0.0.4]:40211",
    ),
    Text(
        "nccl",
        "torch.distributed.DistBackendError",
        NCCL.format(last="Proxy Call to rank 0 failed (Connect)"),
    ),
    Text("mlx", "RuntimeError", "[metal::malloc] Resource limit (499000) exceeded."),
    Text("vllm", "RuntimeError", "Engine core initialization failed. See root cause above. Failed core proc(s): {}"),
    Text(
        "transformers",
        "ValueError",
        "Some modules are dispatched on the CPU or the disk. Make sure you have enough GPU RAM to fit the quantized "
        "model.",
    ),
    Text("llama-cpp", "ValueError", "Failed to create llama_context"),
    Text(
        "numpy",
        "ValueError",
        "array is too big; `arr.size * arr.dtype.itemsize` is larger than the maximum possible size.",
    ),
    Text(
        "pyarrow",
        "pyarrow.lib.ArrowCapacityError",
        "array cannot contain more than 2147483646 bytes, have 2147483723",
        base=Exception,
    ),
    Text("polars", "pyo3_runtime.PanicException", "capacity overflow", base=BaseException),
    Text(
        "spark",
        "py4j.protocol.Py4JJavaError",
        "An error occurred while calling o41.collectToPython.\n: java.lang.OutOfMemoryError: Java heap space",
        base=Exception,
    ),
    Text(
        "dask",
        "distributed.scheduler.KilledWorker",
        "Attempted to run task 'train-7' on 4 different workers, but all those workers died while running it.",
        base=Exception,
    ),
    Text(
        "ray",
        "ray.exceptions.ActorDiedError",
        "The actor died unexpectedly before finishing this task.\nThe actor is dead because its worker process has "
        "died. Worker exit type: SYSTEM_ERROR Worker exit detail: Worker exits unexpectedly. The worker may have "
        "exceeded K8s pod memory limits.",
        base=Exception,
    ),
    Text(
        "ray",
        "ray.exceptions.ObjectStoreFullError",
        "Failed to put object ffff in object store because it is full. Object size is 4294967520 bytes.",
        base=Exception,
    ),
    Text(
        "submitit",
        "submitit.core.utils.UncompletedJobError",
        "Job 8812 (task: 0) with path /logs/8812_0_result.pkl has not produced any output (state: OUT_OF_MEMORY)",
    ),
    Text("lmdb", "lmdb.MapFullError", "mdb_put: MDB_MAP_FULL: Environment mapsize limit reached", base=Exception),
    Text("pynvml", "pynvml.NVMLError_InsufficientSize", "Insufficient Size", base=Exception),
    Text("tensorflow", TF + "InternalError", "GPU sync failed", base=OP),
    Text(
        "tensorflow",
        TF + "InvalidArgumentError",
        "Shape [1048576,1048576,1048576] is too large (more than 1152921504606846976 entries)",
        base=OP,
    ),
    Text(
        "jax, on the chip",
        XLA,
        "RESOURCE_EXHAUSTED: Ran out of memory in memory space smem. Used 1.21M of 1.00M smem. Exceeded smem capacity "
        "by 214.3K.",
    ),
    Text("rust", "OSError", "Exec format error (os error 8)"),
    Text("rust", "OSError", "Too many open files (os error 24)"),
    Text(
        "onnxruntime",
        ONNX_STATE + "Fail",
        "[ONNXRuntimeError] : 1 : FAIL : Load model from m.onnx failed: Protobuf parsing failed.",
        base=Exception,
    ),
    Text(
        "pandas",
        "pandas.errors.ParserError",
        "Error tokenizing data. C error: Expected 7 fields in line 9, saw 8",
        base=ValueError,
    ),
    Text("dgl", "dgl._ffi.base.DGLError", "There are 0-in-degree nodes in the graph", base=Exception),
    Text(
        "xgboost",
        "xgboost.core.XGBoostError",
        "[10:11:12] /src/data/data.cc:523: Check failed: valid: Label contains NaN, infinity or a value too large.",
        base=ValueError,
    ),
    Text(
        "torch_tensorrt",
        "RuntimeError",
        "[Error thrown at core/conversion/conversionctx/ConversionCtx.cpp:169] Building serialized network "
        "failed in TensorRT",
    ),
    Text(
        "k2",
        "RuntimeError",
        "\n    Some bad things happened. Please read the above error messages and stack\n    trace. If you are "
        "using Python, the following command may be helpful:",
    ),
    Text("datasets", "OSError", "Invalid flatbuffers message."),
    Text("torch", "RuntimeError", "HIP error: no kernel image is available for execution on the device"),
    Text("torch", "RuntimeError", "invalid device pointer: 0x4c44000"),
]
