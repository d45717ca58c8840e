"""More of the same table: texts of the last year, by library, and their look-alikes."""

from __future__ import annotations

from support.out_of_memory_texts import DEVICE, GIB, HOST, MIB, XLA, Text

JAX = "jax.errors.JaxRuntimeError"
ONNX_STATE = "onnxruntime.capi.onnxruntime_pybind11_state."
RMM = "std::bad_alloc: out_of_memory: RMM failure at:/env/cpp/src/mr/detail/"
TF = "tensorflow.python.framework.errors_impl."
OP = type("OpError", (Exception,), {})
OPEN_VINO = (
    "Exception from src/inference/src/cpp/infer_request.cpp:223:\nException from src/plugins/intel_gpu/src/runtime/"
)

OUT_OF_MEMORY = [
    # torch, and what allocates through it
    Text(
        "torch 2.12, private pools",
        "torch.OutOfMemoryError",
        "CUDA out of memory. Tried to allocate 84.00 MiB. GPU 5 has a total capacity of 23.52 GiB of which 27.25 MiB "
        "is free. Including non-PyTorch memory, this process has 23.48 GiB memory in use. Of the allocated memory "
        "22.61 GiB is allocated by PyTorch, with 38.00 MiB allocated in private pools (e.g., CUDA Graphs), and "
        "301.11 MiB is reserved by PyTorch but unallocated.",
        DEVICE,
        84 * MIB,
        device="cuda:5",
    ),
    Text(
        "flashinfer, torch's error by way of TVM",
        "MemoryError",
        "CUDA out of memory. Tried to allocate 446.00 MiB. GPU 2 has a total capacity of 178.35 GiB of which 12.19 MiB "
        "is free. Including non-PyTorch memory, this process has 178.29 GiB memory in use.",
        DEVICE,
        446 * MIB,
        device="cuda:2",
    ),
    Text(
        "torch 2.10, cudaMallocAsync on one line each",
        "torch.OutOfMemoryError",
        "Allocation on device 0 would exceed allowed memory. (out of memory)\nCurrently allocated : 13.62 GiB\n"
        "Requested : 288.00 MiB\nDevice limit : 15.92 GiB\nFree (according to CUDA): 0 bytes\nPyTorch limit (set by "
        "user-supplied memory fraction)\n: 17179869184.00 GiB",
        DEVICE,
        288 * MIB,
        device="cuda:0",
    ),
    Text(
        "torch 2.12, a Jetson",
        "RuntimeError",
        'NVML_SUCCESS == r INTERNAL ASSERT FAILED at "/opt/pytorch/c10/cuda/CUDACachingAllocator.cpp":1017, please '
        "report a bug to PyTorch.",
        DEVICE,
    ),
    Text(
        "torch 2.10 XPU",
        "torch.OutOfMemoryError",
        "XPU out of memory. Tried to allocate 512 bytes. GPU 1 has a total capacity of 11.93 GiB of which 11.33 GiB is "
        "free. Of the allocated memory 0 bytes is allocated by PyTorch, and 0 bytes is reserved by PyTorch but "
        "unallocated. Please use `empty_cache` to release all unoccupied cached memory.",
        DEVICE,
        512,
        device="xpu:1",
    ),
    Text(
        "torch 2.8 XPU",
        "RuntimeError",
        "UR backend failed. UR backend returns:40 (UR_RESULT_ERROR_OUT_OF_RESOURCES)",
        DEVICE,
    ),
    Text(
        "torch_npu",
        "torch.OutOfMemoryError",
        "NPU out of memory. Tried to allocate more than 1EB memory",
        DEVICE,
        2**60,
    ),
    Text(
        "torch_npu 2.9",
        "torch.OutOfMemoryError",
        "NPU out of memory. Tried to allocate 96.00 MiB (NPU 6; 61.27 GiB total capacity; 55.42 GiB already allocated; "
        "55.42 GiB current active; 7.81 MiB free; 58.11 GiB reserved in total by PyTorch).If reserved memory is >> "
        "allocated memory try setting max_split_size_mb to avoid fragmentation.",
        DEVICE,
        96 * MIB,
        device="npu:6",
    ),
    Text(
        "ray, a task",
        "ray.exceptions.RayTaskError",
        'ray::TaskRunner.run() (pid=2211, ip=10.0.0.3, actor_id=7f)\n  File "/app/ppo.py", line 611, in update\n'
        "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.75 GiB. GPU 0 has a total capacity of 79.11 "
        "GiB of which 1.02 GiB is free.",
        DEVICE,
        2816 * MIB,
        Exception,
    ),
    Text(
        "diffusers, a nunchaku model",
        "RuntimeError",
        "CUDA error: out of memory (at C:\\Users\\u\\nunchaku\\src\\Tensor.h:98)",
        DEVICE,
    ),
    # servers and their kernels
    Text(
        "TensorRT-LLM",
        "RuntimeError",
        "[TensorRT-LLM][ERROR] CUDA runtime error in ::cudaMallocAsync(ptr, n, mMemPool->getPool(), "
        "mCudaStream->get()): out of memory (/src/tensorrt_llm/cpp/tensorrt_llm/runtime/tllmBuffers.h:131)\n1       "
        "0x7f7b1a2a241c void tensorrt_llm::common::check<cudaError>(cudaError, char const*, char const*, int) + 92",
        DEVICE,
    ),
    Text(
        "TensorRT-LLM, a request",
        "RuntimeError",
        "Encountered an error in forwardAsync function: [TensorRT-LLM][ERROR] CUDA runtime error in "
        "::cudaMallocAsync(ptr, n, mMemPool->getPool(), mCudaStream->get()): out of memory (/src/tllmBuffers.h:131)",
        DEVICE,
    ),
    Text(
        "TensorRT-LLM, its start",
        "RuntimeError",
        "Executor creation failed due to insufficient GPU memory.\n\nThe following component could not be created: "
        "Additional executor resources (temporary for KV cache size estimation)\nTotal GPU memory (GiB): 44.39\nFree "
        "GPU memory before component creation attempt (GiB): 3.02",
        DEVICE,
    ),
    Text(
        "LMDeploy",
        "RuntimeError",
        "[TM][ERROR] CUDA runtime error: out of memory /lmdeploy/src/turbomind/core/allocator.cc:49",
        DEVICE,
    ),
    Text("ExLlamaV2", "RuntimeError", "Insufficient VRAM for model and cache", DEVICE),
    Text(
        "vLLM, sleep mode",
        "RuntimeError",
        "CUDA Error: out of memory at /workspace/csrc/cumem_allocator.cpp:163",
        DEVICE,
    ),
    Text(
        "OpenVINO",
        "RuntimeError",
        f"{OPEN_VINO}ocl/ocl_engine.cpp:204:\n[GPU] Exceeded max size of memory object allocation: requested "
        "9172942848 bytes, but max alloc size supported by device is 4294959104 bytes.Please try to reduce batch "
        "size or use lower precision.",
        DEVICE,
        9172942848,
    ),
    Text(
        "OpenVINO, all of it",
        "RuntimeError",
        f"{OPEN_VINO}engine.cpp:91:\n[GPU] Exceeded max size of memory allocation: Required 18253611008 bytes, already "
        "occupied : 4026531840 bytes, but available memory size is 16508207104 bytes",
        DEVICE,
        18253611008,
    ),
    Text(
        "onnxruntime 1.23",
        f"{ONNX_STATE}Fail",
        "[ONNXRuntimeError] : 1 : FAIL : CUDA failure 2: out of memory ; GPU=1 ; hostname=node7 ; "
        "file=/src/onnxruntime/core/providers/cuda/cuda_allocator.cc ; line=48 ; expr=cudaMalloc((void**)&p, size);",
        DEVICE,
        None,
        Exception,
    ),
    Text(
        "onnxruntime 1.23, an execution provider",
        f"{ONNX_STATE}EPFail",
        "[ONNXRuntimeError] : 11 : EP_FAIL : [NvTensorRTRTX EP] CUDA failure 2: out of memory while building the "
        "engine",
        DEVICE,
        None,
        Exception,
    ),
    Text(
        "onnxruntime 1.24",
        f"{ONNX_STATE}RuntimeException",
        "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Non-zero status code returned while running FusedMatMul node. "
        "Name:'/attn/MatMul' Status Message: /src/onnxruntime/core/framework/bfc_arena.cc:388 void* "
        "onnxruntime::BFCArena::AllocateRawInternal(size_t, bool, onnxruntime::Stream*) Failed to allocate memory for "
        "requested buffer of size 4294967296",
        None,
        4 * GIB,
        Exception,
    ),
    # XLA, its codes
    Text(
        "XLA's E0100, a TPU",
        JAX,
        "RESOURCE_EXHAUSTED: E0100: RuntimeBufferAllocationFailure:\nError allocating device buffer: Attempting to "
        "allocate 640.00M. That was not possible. There are 301.44M free.; (0x1x0_HBM0)",
        DEVICE,
        640 * MIB,
    ),
    Text(
        "XLA's E0100, raised as another class",
        "ValueError",
        "RESOURCE_EXHAUSTED: E0100: RuntimeBufferAllocationFailure:\nError allocating device buffer: Attempting to "
        "allocate 24.00M. That was not possible. There are 15.47M free.; (0x0x0_HBM0)",
        DEVICE,
        24 * MIB,
    ),
    Text(
        "XLA's E0101",
        JAX,
        "RESOURCE_EXHAUSTED: E0101: RuntimeProgramAllocationFailure:\nError loading program 'jit_train_step': "
        "Attempting to reserve 6.25G at the bottom of memory. That was not possible. There are 5.11G free, 0B "
        "reserved, and 5.11G reservable.",
        DEVICE,
        6400 * MIB,
    ),
    Text(
        "XLA's E1000",
        XLA,
        "RESOURCE_EXHAUSTED: E1000: CompileTimeHbmOom: XLA:TPU compile permanent error. Ran out of memory in memory "
        "space hbm. Used 188.40G of 31.25G hbm. Exceeded hbm capacity by 157.15G.",
        DEVICE,
    ),
    Text(
        "jax, cuDNN's search",
        XLA,
        "UNKNOWN: Failed to determine best cudnn convolution algorithm for:\n%cudnn-conv-bias-activation.77 = "
        "(f32[1,64,900,900]{3,2,1,0}, u8[0]{0}) custom-call(...)\n\nOriginal error: RESOURCE_EXHAUSTED: Out of memory "
        "while trying to allocate 5111808000 bytes.",
        DEVICE,
        5111808000,
    ),
    Text(
        "tensorflow, graphs",
        f"{TF}ResourceExhaustedError",
        "Graph execution error:\n\nDetected at node model/conv2d_4/Conv2D defined at (most recent call last):\n<stack "
        "traces unavailable>\nOOM when allocating tensor with shape[24,96,96,64] and type float on "
        "/job:localhost/replica:0/task:0/device:GPU:0 by allocator GPU_0_bfc\n\t [[{{node model/conv2d_4/Conv2D}}]]",
        DEVICE,
        24 * 96 * 96 * 64 * 4,
        OP,
    ),
    Text(
        "tensorflow, cuda_malloc_async",
        f"{TF}ResourceExhaustedError",
        "gpu_async_0 cuMemAllocAsync failed to allocate 58720256 bytes: RESOURCE_EXHAUSTED: : "
        "CUDA_ERROR_OUT_OF_MEMORY: out of memory\n Reported by CUDA: Free memory/Total memory: 1441792/25231032320",
        DEVICE,
        58720256,
        OP,
    ),
    Text(
        "IREE, Vulkan",
        "RuntimeError",
        "Error invoking function: vma_allocator.cc:693: RESOURCE_EXHAUSTED; VK_ERROR_OUT_OF_DEVICE_MEMORY; "
        "vmaCreateBuffer; failed to allocate buffer of length 13476833280",
        DEVICE,
        13476833280,
    ),
    # RAPIDS, CuPy, numba
    Text(
        "RMM 26, a pool",
        "MemoryError",
        f"{RMM}pool_memory_resource_impl.cpp:73: Maximum pool size exceeded (failed to allocate 9.250000 GiB): Not "
        "enough room to grow, current/max/try size = 70.000000 GiB, 70.000000 GiB, 9.250000 GiB",
        DEVICE,
        9472 * MIB,
    ),
    Text(
        "RMM 26, an arena",
        "MemoryError",
        f"{RMM}arena_memory_resource_impl.cpp:61: Maximum pool size exceeded (failed to allocate 768.000000 MiB): No "
        "room in arena.",
        DEVICE,
        768 * MIB,
    ),
    Text(
        "cuGraph",
        "RuntimeError",
        "non-success value returned from cugraph_pagerank: CUGRAPH_UNKNOWN_ERROR std::bad_alloc: out_of_memory: CUDA "
        "error (failed to allocate 3221225472 bytes) at: /env/include/rmm/mr/device/cuda_memory_resource.hpp: "
        "cudaErrorMemoryAllocation out of memory",
        DEVICE,
        3 * GIB,
    ),
    Text(
        "cupy 14, a limit",
        "cupy.cuda.memory.OutOfMemoryError",
        "Out of memory allocating 6,442,450,944 bytes (allocated so far: 1,073,741,824 bytes, limit set to: "
        "4,294,967,296 bytes).",
        DEVICE,
        6 * GIB,
        MemoryError,
    ),
    Text(
        "cuda.core",
        "cuda.core._utils.cuda_utils.CUDAError",
        "CUDA_ERROR_OUT_OF_MEMORY: The API call failed because it was unable to allocate enough memory or other "
        "resources to perform the requested operation.",
        DEVICE,
        None,
        Exception,
    ),
    Text(
        "numba-cuda",
        "numba.cuda.cudadrv.driver.CudaAPIError",
        "[CUresult.CUDA_ERROR_OUT_OF_MEMORY] Call to cuMemAlloc results in CUDA_ERROR_OUT_OF_MEMORY",
        DEVICE,
        None,
        Exception,
    ),
    Text(
        "xgboost 3",
        "xgboost.core.XGBoostError",
        "[09:14:07] /src/src/common/device_vector.cu:23: Memory allocation error on worker 0: std::bad_alloc: "
        "cudaErrorMemoryAllocation: out of memory\n- Free memory: 2.1GB\n- Requested memory: 11.5GB",
        DEVICE,
        int(11.5 * GIB),
        ValueError,
    ),
    Text(
        "DALI",
        "RuntimeError",
        "Critical error in pipeline:\nError in GPU operator `nvidia.dali.fn.resize`:\nCan't allocate 1207959552 "
        "bytes on device 0.\nCurrent pipeline object is no longer valid.",
        DEVICE,
        1207959552,
    ),
    Text(
        "DALI, the host",
        "RuntimeError",
        "Critical error in pipeline:\nError in CPU operator `nvidia.dali.fn.decoders.image`:\nCan't allocate 805306368 "
        "bytes on host.",
        HOST,
        805306368,
    ),
    Text(
        "Open3D",
        "RuntimeError",
        "[Open3D Error] (static void* open3d::core::MemoryManagerCUDA::Malloc(size_t, const open3d::core::Device&)) "
        "/root/Open3D/cpp/open3d/core/MemoryManagerCUDA.cpp:29: Open3D CUDA runtime error: out of memory",
        DEVICE,
    ),
    Text(
        "DGL, a sampler",
        "dgl._ffi.base.DGLError",
        "[11:52:03] /opt/dgl/src/runtime/cuda/cuda_device_api.cc:343: Check failed: e == cudaSuccess || e == "
        "cudaErrorCudartUnloading: CUDA: out of memory",
        DEVICE,
        None,
        Exception,
    ),
    Text(
        "paddle 3",
        "MemoryError",
        "(ResourceExhausted) \n\nOut of memory error on GPU 1. Cannot allocate 2.250000GB memory on GPU 1, 22.910706GB "
        "memory has been allocated and available memory is only 780.562500MB.",
        DEVICE,
        2304 * MIB,
    ),
    # Apple, Tenstorrent
    Text(
        "MLX, Metal without a code",
        "RuntimeError",
        "[METAL] Command buffer execution failed: Insufficient Memory",
        DEVICE,
    ),
    Text("MLX, CUDA", "RuntimeError", "cudaMallocAsync(&data, size, stream) failed: out of memory", DEVICE),
    Text(
        "TT-NN",
        "RuntimeError",
        "TT_FATAL @ /tt-metal/tt_metal/impl/allocator/bank_manager.cpp:462: address.has_value()\ninfo:\nOut of "
        "Memory: Not enough space to allocate 419430400 B DRAM buffer across 12 banks, where each bank needs to "
        "store 34952534 B, but bank size is 1071821792 B",
        DEVICE,
        419430400,
    ),
    # the host
    Text(
        "DuckDB 1.4",
        "duckdb.duckdb.OutOfMemoryException",
        "Out of Memory Error: failed to allocate data of size 32.0 MiB (6.2 GiB/6.2 GiB used)",
        HOST,
        32 * MIB,
        Exception,
    ),
    Text(
        "pandas",
        "numpy._core._exceptions._ArrayMemoryError",
        "Unable to allocate 7.45 GiB for an array with shape (1, 1000000000) and data type int64",
        HOST,
        int(7.45 * GIB),
        MemoryError,
    ),
    Text(
        "a data loader's worker, shared tensors",
        "RuntimeError",
        "Caught RuntimeError in DataLoader worker process 2.\nOriginal Traceback (most recent call "
        "last):\nRuntimeError: unable to mmap 65536 bytes from file <filename not specified>: Cannot allocate memory "
        "(12)",
        HOST,
        65536,
    ),
]

SOMETHING_ELSE = [
    # pools of a fixed size, which are full while the device is not, or the other way round
    Text(
        "sglang, its pool of tokens",
        "RuntimeError",
        "Prefill out of memory. Try to lower your batch size.\nTry to allocate 4096 tokens.\nAvailable full tokens: "
        "899840 (full_available_size=11776 + full_evictable_size_=888064)\nAvailable swa: 1920",
    ),
    Text(
        "sglang 0.5, its pool of tokens",
        "RuntimeError",
        "Out of memory. Try to lower your batch size.\nTry to allocate 8192 tokens.\nAvailable tokens: 3840 "
        "(available_size=3840 + evictable_size=0)",
    ),
    Text(
        "flashinfer, its workspace",
        "RuntimeError",
        "Error in function 'aligned_alloc' at /flashinfer/allocator.h:49: Buffer overflow when allocating memory for "
        "batch_prefill_tmp_v with size 536346624 and alignment 16, but only 413138944 bytes available in "
        "AlignedAllocator. Increase the workspace buffer size.",
    ),
    Text(
        "flashinfer 0.1, its workspace",
        "RuntimeError",
        "Out of workspace memory in AlignedAlloactor",
    ),
    Text(
        "TensorRT-LLM, its blocks",
        "RuntimeError",
        "[TensorRT-LLM][ERROR] Assertion failed: Can't allocate new blocks for window size 4096. No free blocks left.",
    ),
    Text(
        "vLLM 0.14",
        "ValueError",
        "Free memory on device cuda:0 (20.11/23.64 GiB) on startup is less than desired GPU memory utilization (0.92, "
        "21.75 GiB). Decrease GPU memory utilization or reduce GPU memory used by other processes.",
    ),
    Text(
        "vLLM 0.14, the length",
        "ValueError",
        "To serve at least one request with the models's max seq len (131072), (4.61 GiB KV cache is needed, which is "
        "larger than the available KV cache memory (4.0 GiB).",
    ),
    # the small memories on a chip
    Text(
        "XLA's E1001",
        JAX,
        "RESOURCE_EXHAUSTED: E1001: CompileTimeScopedVmemOom: Ran out of memory in memory space vmem while "
        "allocating on stack for %tpu_custom_call. Scoped allocation with size 36.25M and limit 32.00M exceeded "
        "scoped vmem limit by 4.25M.",
    ),
    Text(
        "TT-NN, on the chip",
        "RuntimeError",
        "TT_FATAL @ /tt-metal/tt_metal/impl/allocator/bank_manager.cpp:462: address.has_value()\ninfo:\nOut of "
        "Memory: Not enough space to allocate 55444480 B L1 buffer across 70 banks, where each bank needs to store "
        "792064 B, but bank size is 1393472 B",
    ),
    Text(
        "TT-NN, circular buffers",
        "RuntimeError",
        "TT_THROW @ /tt-metal/tt_metal/impl/program/program.cpp:901: tt::exception\ninfo:\nStatically allocated "
        "circular buffers on core range [(x=0,y=0) - (x=7,y=7)] grow to 1650432 B which is beyond max L1 size of "
        "1499136 B",
    ),
    Text(
        "triton, registers",
        "triton.runtime.errors.OutOfResources",
        "out of resource: registers, Required: 98304, Hardware limit: 65536. Reducing block sizes or `num_stages` may "
        "help.",
        base=Exception,
    ),
    # another program's
    Text(
        "a server's",
        "tritonclient.utils.InferenceServerException",
        "[StatusCode.INTERNAL] onnx runtime error 6: Non-zero status code returned while running Mul node. Failed to "
        "allocate memory for requested buffer of size 2830172160",
        base=Exception,
    ),
    Text(
        "PostgreSQL",
        "psycopg.errors.OutOfMemory",
        "out of memory\nDETAIL:  Failed on request of size 1048576 in memory context ExecutorState.",
        base=Exception,
    ),
    Text("a pod", "RuntimeError", "pod train-7 has terminated: OOMKilled (exit code 137)"),
    Text(
        "ray, disks",
        "ray.exceptions.OutOfDiskError",
        "Local disk is full\nThe object cannot be created because the local object store is full and the local disk's "
        "utilization is over capacity (95% by default).",
        base=Exception,
    ),
    Text(
        "google, a quota",
        "google.api_core.exceptions.ResourceExhausted",
        "429 Quota exceeded for quota metric 'Online prediction requests'",
        base=Exception,
    ),
    # CUDA, NCCL
    Text("torch", "torch.AcceleratorError", "CUDA error: unspecified launch failure\nCUDA kernel errors might be"),
    Text("torch", "torch.AcceleratorError", "CUDA error: an illegal instruction was encountered"),
    Text("torch", "torch.AcceleratorError", "CUDA error: the launch timed out and was terminated"),
    Text("torch", "torch.AcceleratorError", "CUDA error: uncorrectable NVLink error detected during the execution"),
    Text("torch, symmetric memory", "RuntimeError", "CUDA driver error: invalid device ordinal"),
    Text("torch, another node", "RuntimeError", "CUDA driver error: invalid resource handle"),
    Text("torch cuDNN", "RuntimeError", "cuDNN error: CUDNN_STATUS_NOT_INITIALIZED"),
    Text("torch cuBLAS", "RuntimeError", "CUDA error: CUBLAS_STATUS_NOT_SUPPORTED when calling `cublasLtMatmul`"),
    Text(
        "torch, a pool that is captured",
        "RuntimeError",
        'captures_underway.empty() INTERNAL ASSERT FAILED at "../c10/cuda/CUDACachingAllocator.cpp":2967; please '
        "report a "
        "bug to PyTorch.",
    ),
    Text(
        "vLLM, NCCL's windows",
        "RuntimeError",
        "NCCL error: unhandled cuda error (run with NCCL_DEBUG=INFO for details)",
    ),
    Text(
        "flashinfer, CUTLASS",
        "RuntimeError",
        "Failed to initialize cutlass TMA WS grouped gemm. Error: Error Internal",
    ),
    Text("torch XPU", "RuntimeError", "Native API failed. Native API returns: 20 (UR_RESULT_ERROR_DEVICE_LOST)"),
    Text(
        "jax, cuDNN's search",
        XLA,
        "UNKNOWN: Failed to determine best cudnn convolution algorithm for:\n%cudnn-conv.9\n\nOriginal error: "
        "INTERNAL: All algorithms tried for %cudnn-conv.9 failed.",
    ),
    Text("MPS", "RuntimeError", "Placeholder buffer size (14336) is not large enough to contain the Tensor storage"),
    Text(
        "a search for a batch size",
        "ValueError",
        "CUDA out of memory at batch size 1: the model does not fit",
    ),
    Text(
        "ONNX, an execution provider",
        f"{ONNX_STATE}EPFail",
        "[ONNXRuntimeError] : 11 : EP_FAIL : TensorRT EP failed to create engine from network for fused node",
        base=Exception,
    ),
    Text("WSL, the display's watchdog", "RuntimeError", "CUDA driver error: device not ready"),
    Text(
        "torch, memory shared between processes",
        "RuntimeError",
        '!handles_.at(i) INTERNAL ASSERT FAILED at "/pytorch/c10/cuda/CUDACachingAllocator.cpp":431, please report a '
        "bug to PyTorch.",
    ),
]
