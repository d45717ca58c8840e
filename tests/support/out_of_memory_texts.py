"""The words of libraries for memory that ran out, by library and version, and others that only look alike.

The wordings are those of the libraries; paths, names and figures are made. Gathered from their sources and from threads
in which people met them.
"""

from __future__ import annotations

import builtins
from typing import NamedTuple

KIB, MIB, GIB = 2**10, 2**20, 2**30
HOST, DEVICE = "host", "device"


class Text(NamedTuple):
    """`kind` is the class, with its module if it is not a builtin: a class of that name is made from `base`. `whose`,
    `asked` and `device` are the expected answers: whose memory, None if the text does not say, the size of the request,
    and which device, where that is tried."""

    library: str
    kind: str
    text: str
    whose: str | None = None
    asked: int | None = None
    base: type[BaseException] = RuntimeError
    device: str | None = None

    def made(self) -> BaseException:
        """Return the exception."""
        module, _, name = self.kind.rpartition(".")
        if not module:
            cls: type[BaseException] = getattr(builtins, name)
        else:
            cls = type(name, (self.base,), {"__module__": module})
        return cls(self.text)


TORCH_NEW = (
    "CUDA out of memory. Tried to allocate {asked}. GPU 2 has a total capacity of 47.41 GiB of which 311.06 MiB is "
    "free. Including non-PyTorch memory, this process has 47.09 GiB memory in use. Of the allocated memory 44.87 GiB "
    "is allocated by PyTorch, and 1.69 GiB is reserved by PyTorch but unallocated. If reserved but unallocated memory "
    "is large try setting PYTORCH_ALLOC_CONF=expandable_segments:True to avoid fragmentation."
)
TORCH_CPU = (
    "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate "
    "35184372088832 bytes. Error code 12 (Cannot allocate memory)"
)
IN_CHILD = (
    "\n\n-- Process 1 terminated with the following error:\nTraceback (most recent call last):\n  File "
    '"/opt/env/python3.12/site-packages/torch/multiprocessing/spawn.py", line 90, in _wrap\n    fn(i, *args)\n{error}'
)
ONNX = (
    "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Non-zero status code returned while running Conv node. "
    "Name:'/stem/Conv' Status Message: /src/onnxruntime/core/framework/bfc_arena.cc:376 void* "
    "onnxruntime::BFCArena::AllocateRawInternal(size_t, bool, onnxruntime::Stream*) Failed to allocate memory for "
    "requested buffer of size 1258291200"
)
NCCL = (
    "NCCL error in: /pytorch/torch/csrc/distributed/c10d/NCCLUtils.cpp:94, unhandled cuda error (run with "
    "NCCL_DEBUG=INFO for details), NCCL version 2.26.2\nncclUnhandledCudaError: Call to CUDA function failed.\n"
    "Last error:\n{last}"
)
TF = "tensorflow.python.framework.errors_impl."
XLA = "jaxlib.xla_extension.XlaRuntimeError"

OUT_OF_MEMORY = [
    # torch, CUDA and ROCm
    Text("torch 2.13", "torch.OutOfMemoryError", TORCH_NEW.format(asked="1.50 GiB"), DEVICE, 1536 * MIB),
    Text("torch 2.9", "RuntimeError", TORCH_NEW.format(asked="978.00 MiB"), DEVICE, 978 * MIB),
    Text(
        "torch 1.13",
        "torch.cuda.OutOfMemoryError",
        "CUDA out of memory. Tried to allocate 20.00 MiB (GPU 0; 10.76 GiB total capacity; 9.42 GiB already allocated; "
        "14.69 MiB free; 9.57 GiB reserved in total by PyTorch) If reserved memory is >> allocated memory try setting "
        "max_split_size_mb to avoid fragmentation.",
        DEVICE,
        20 * MIB,
    ),
    Text(
        "torch 1.2",
        "RuntimeError",
        "CUDA out of memory. Tried to allocate 512.00 MiB (GPU 0; 7.93 GiB total capacity; 6.81 GiB already allocated; "
        "201.12 MiB free; 96.43 MiB cached)",
        DEVICE,
        512 * MIB,
    ),
    Text(
        "torch", "torch.OutOfMemoryError", "CUDA out of memory. Tried to allocate more than 1EB memory.", DEVICE, 2**60
    ),
    Text(
        "torch",
        "RuntimeError",
        "CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported at some other API call.",
        DEVICE,
    ),
    Text(
        "torch",
        "torch.AcceleratorError",
        "CUDA error: out of memory\nSearch for `cudaErrorMemoryAllocation' in",
        DEVICE,
    ),
    Text("torch", "RuntimeError", "CUDA driver error: out of memory", DEVICE),
    Text(
        "torch ROCm",
        "torch.OutOfMemoryError",
        "HIP out of memory. Tried to allocate 3.25 GiB. GPU 0 has",
        DEVICE,
        3328 * MIB,
    ),
    Text("torch ROCm", "RuntimeError", "HIP error: out of memory\nHIP kernel errors might be", DEVICE),
    Text(
        "torch cuBLAS",
        "RuntimeError",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        DEVICE,
    ),
    Text("torch cuDNN", "RuntimeError", "cuDNN error: CUDNN_STATUS_ALLOC_FAILED", DEVICE),
    Text("torch cuDNN", "RuntimeError", "Unable to find a valid cuDNN algorithm to run convolution", DEVICE),
    Text(
        "torch cuSOLVER",
        "torch._C._LinAlgError",
        "cusolver error: CUSOLVER_STATUS_ALLOC_FAILED, when calling `cusolverDnCreate(handle)`",
        DEVICE,
    ),
    Text(
        "torch cuSPARSE",
        "RuntimeError",
        "CUDA error: CUSPARSE_STATUS_ALLOC_FAILED when calling `cusparseCreate(handle)`",
        DEVICE,
    ),
    Text("torch cuFFT", "RuntimeError", "cuFFT error: CUFFT_ALLOC_FAILED", DEVICE),
    Text(
        "torch cuRAND",
        "RuntimeError",
        "CUDA error: CURAND_STATUS_ALLOCATION_FAILED when calling `curandCreateGenerator`",
        DEVICE,
    ),
    Text(
        "torch hipBLAS",
        "RuntimeError",
        "CUDA error: HIPBLAS_STATUS_ALLOC_FAILED when calling `hipblasCreate(handle)`",
        DEVICE,
    ),
    Text("torch MIOpen", "RuntimeError", "miopenStatusAllocFailed", DEVICE),
    Text(
        "torch NCCL", "torch.distributed.DistBackendError", NCCL.format(last="Cuda failure 2 'out of memory'"), DEVICE
    ),
    Text(
        "torch NCCL",
        "torch.distributed.DistBackendError",
        NCCL.format(last="Failed to CUDA calloc 10485760 bytes"),
        DEVICE,
        10 * MIB,
    ),
    Text(
        "torch NCCL",
        "torch.distributed.DistBackendError",
        NCCL.format(last="Failed to CUDA calloc async 608 bytes"),
        DEVICE,
        608,
    ),
    Text(
        "torch, another process's handle",
        "RuntimeError",
        "CUDA error: out of memory (function cudaIpcOpenMemHandle)",
        DEVICE,
    ),
    # torch, Metal
    Text(
        "torch MPS",
        "RuntimeError",
        "MPS backend out of memory (MPS allocated: 11.25 GiB, other allocations: 15.60 GiB, max allowed: 27.20 GiB). "
        "Tried to allocate 448.00 MiB on private pool. Use PYTORCH_MPS_HIGH_WATERMARK_RATIO=0.0 to disable upper limit "
        "for memory allocations (may cause system failure).",
        DEVICE,
        448 * MIB,
    ),
    Text(
        "torch 2.0 MPS",
        "RuntimeError",
        "MPS backend out of memory (MPS allocated: 8.51 GB, max allowed: 9.07 GB). Tried to allocate "
        "1.20 GB on shared pool.",
        DEVICE,
        1288490188,
    ),
    Text("torch MPS", "RuntimeError", "Invalid buffer size: 17.50 GiB", DEVICE, 17920 * MIB),
    # torch, Intel
    Text(
        "torch XPU",
        "torch.OutOfMemoryError",
        "XPU out of memory. Tried to allocate 2.00 GiB. GPU 0 has a",
        DEVICE,
        2 * GIB,
    ),
    Text(
        "torch XPU",
        "RuntimeError",
        "level_zero backend failed with error: 39 (UR_RESULT_ERROR_OUT_OF_DEVICE_MEMORY)",
        DEVICE,
    ),
    Text(
        "torch XPU",
        "RuntimeError",
        "level_zero backend failed with error: 40 (UR_RESULT_ERROR_OUT_OF_RESOURCES)",
        DEVICE,
    ),
    Text(
        "torch XPU",
        "RuntimeError",
        "level_zero backend failed with error: 38 (UR_RESULT_ERROR_OUT_OF_HOST_MEMORY)",
        HOST,
    ),
    Text(
        "IPEX 2.1",
        "RuntimeError",
        "Native API failed. Native API returns: -5 (PI_ERROR_OUT_OF_RESOURCES) -5 (PI_ERROR_OUT_OF_RESOURCES)",
        DEVICE,
    ),
    Text(
        "IPEX 2.1",
        "RuntimeError",
        "Current platform can NOT allocate memory block with size larger than 4GB! Tried to allocate 5.75 GB",
        DEVICE,
        5888 * MIB,
    ),
    # torch, the host
    Text("torch, the host", "RuntimeError", TORCH_CPU, HOST, 2**45),
    Text(
        "torch, the host, Windows",
        "RuntimeError",
        "[enforce fail at alloc_cpu.cpp:121] data. DefaultCPUAllocator: not enough memory: you tried to "
        "allocate 1207959552 bytes.",
        HOST,
        1152 * MIB,
    ),
    Text(
        "torch, pinned",
        "RuntimeError",
        "Caught RuntimeError in pin memory thread for device 0.\nOriginal Traceback (most recent call last):\n"
        "RuntimeError: CUDA error: out of memory",
        HOST,
    ),
    Text("torch, pinned", "RuntimeError", "CUDA error: out of memory (cudaHostAlloc of 8388608 bytes)", HOST),
    Text(
        "torch, shared tensors",
        "RuntimeError",
        "unable to mmap 2072 bytes from file </torch_40123_1797163201_61998>: Cannot allocate memory (12)",
        HOST,
        2072,
    ),
    Text(
        "torch, shared tensors",
        "RuntimeError",
        "unable to mmap 8216 bytes from file <filename not specified>: Cannot allocate memory (12)",
        HOST,
        8216,
    ),
    Text(
        "torch, a mapped checkpoint",
        "RuntimeError",
        "unable to mmap 9126805504 bytes from file <./model-00001-of-00002.safetensors>: Cannot allocate memory (12)",
        HOST,
        9126805504,
    ),
    Text(
        "torch, a data loader's worker",
        "RuntimeError",
        f"Caught RuntimeError in DataLoader worker process 3.\nOriginal Traceback (last call):\n{TORCH_CPU}",
        HOST,
        2**45,
    ),
    Text("torch, a data loader's worker", "MemoryError", "Caught MemoryError in DataLoader worker process 0.", HOST),
    Text(
        "torch.multiprocessing",
        "torch.multiprocessing.spawn.ProcessRaisedException",
        IN_CHILD.format(error="torch.OutOfMemoryError: " + TORCH_NEW.format(asked="96.00 MiB")),
        DEVICE,
        96 * MIB,
        Exception,
    ),
    Text(
        "torch.multiprocessing",
        "torch.multiprocessing.spawn.ProcessRaisedException",
        IN_CHILD.format(error="MemoryError\n"),
        HOST,
        None,
        Exception,
    ),
    # TensorFlow and Keras; made by name, the real classes are tried beside this table
    Text(
        "tensorflow 2.21",
        TF + "ResourceExhaustedError",
        "{{function_node __wrapped__MatMul_device_/job:localhost/replica:0/task:0/device:GPU:0}} OOM when allocating "
        "tensor with shape[40000,20000] and type float on /job:localhost/replica:0/task:0/device:GPU:0 by allocator "
        "GPU_0_bfc [Op:MatMul] name: ",
        DEVICE,
        3200000000,
        Exception,
    ),
    Text(
        "tensorflow 2.21",
        TF + "ResourceExhaustedError",
        "OOM when allocating tensor with shape[16777216,4096] and type half on "
        "/job:localhost/replica:0/task:0/device:CPU:0 by allocator mklcpu [Op:Fill]",
        HOST,
        2**37,
        Exception,
    ),
    Text(
        "tensorflow, XLA",
        TF + "ResourceExhaustedError",
        "Out of memory while trying to allocate 2415919104 bytes. [Op:__inference_train_function_512]",
        None,
        2304 * MIB,
        Exception,
    ),
    Text(
        "tensorflow",
        TF + "InternalError",
        "Failed copying input tensor from /job:localhost/replica:0/task:0/device:CPU:0 to "
        "/job:localhost/replica:0/task:0/device:GPU:0 in order to run _EagerConst: Dst tensor is not initialized.",
        DEVICE,
        None,
        type("OpError", (Exception,), {}),
    ),
    Text(
        "tensorflow",
        TF + "InternalError",
        "failed initializing StreamExecutor for CUDA device ordinal 0: Internal: failed call to "
        "cuDevicePrimaryCtxRetain: CUDA_ERROR_OUT_OF_MEMORY: out of memory; total memory reported: 16945512448",
        DEVICE,
        None,
        type("OpError", (Exception,), {}),
    ),
    # JAX and XLA
    Text(
        "jax 0.4",
        XLA,
        "RESOURCE_EXHAUSTED: Out of memory while trying to allocate 5368709120 bytes.\nBufferAssignment OOM Debugging.",
        None,
        5 * GIB,
    ),
    Text(
        "jax 0.10",
        "jax.errors.JaxRuntimeError",
        "RESOURCE_EXHAUSTED: Out of memory allocating 70368744177664 bytes.",
        None,
        2**46,
    ),
    Text(
        "jax 0.10",
        "jax.errors.JaxRuntimeError",
        "RESOURCE_EXHAUSTED: Out of memory while trying to allocate 1.25GiB.",
        None,
        1280 * MIB,
    ),
    Text(
        "jax 0.1",
        "RuntimeError",
        "Resource exhausted: Out of memory while trying to allocate 402653184 bytes.",
        None,
        384 * MIB,
    ),
    Text(
        "jax 0.4",
        XLA,
        "RESOURCE_EXHAUSTED: Failed to allocate request for 3.50GiB (3758096384B) on device ordinal 0",
        None,
        3584 * MIB,
    ),
    Text("jax 0.4", XLA, "INTERNAL: Failed to allocate 104857600 bytes for new constant", DEVICE, 100 * MIB),
    Text(
        "jax, TPU",
        XLA,
        "RESOURCE_EXHAUSTED: XLA:TPU compile permanent error. Ran out of memory in memory space hbm. Used 19.75G of "
        "15.48G hbm. Exceeded hbm capacity by 4.27G.",
        DEVICE,
    ),
    Text(
        "jax, TPU",
        XLA,
        "RESOURCE_EXHAUSTED: Attempting to reserve 5.50G at the bottom of memory. That was not possible. There are "
        "4.81G free, 0B reserved, and 4.81G reservable.",
        DEVICE,
        5632 * MIB,
    ),
    Text("jax, cuSOLVER", XLA, "INTERNAL: jaxlib/gpu/solver_kernels.cc:45: CUSOLVER_STATUS_ALLOC_FAILED", DEVICE),
    # numpy, Python, Arrow
    Text(
        "numpy 2",
        "numpy._core._exceptions._ArrayMemoryError",
        "Unable to allocate 29.8 GiB for an array with shape (2000000000, 2) and data type float64",
        HOST,
        int(29.8 * GIB),
        MemoryError,
    ),
    Text("Python", "MemoryError", "", HOST),
    Text("pybind11", "MemoryError", "std::bad_alloc", HOST),
    Text("pybind11, Windows", "MemoryError", "bad allocation", HOST),
    Text("pyarrow", "pyarrow.lib.ArrowMemoryError", "malloc of size 17179869184 failed", HOST, 16 * GIB, MemoryError),
    Text(
        "safetensors",
        "safetensors_rust.SafetensorError",
        "Error while deserializing header: I/O error: Cannot allocate memory (os error 12)",
        HOST,
        None,
        Exception,
    ),
    Text(
        "Python, a library of C",
        "ImportError",
        "libcublasLt.so.12: failed to map segment from shared object: Cannot allocate memory",
        HOST,
    ),
    # other libraries of the GPU
    Text(
        "cupy 13",
        "cupy.cuda.memory.OutOfMemoryError",
        "Out of memory allocating 12,884,901,888 bytes (allocated so far: 25,769,803,776 bytes).",
        DEVICE,
        12 * GIB,
        MemoryError,
    ),
    Text(
        "cupy 5",
        "cupy.cuda.memory.OutOfMemoryError",
        "out of memory to allocate 268435456 bytes (total 11811160064 bytes)",
        DEVICE,
        256 * MIB,
        MemoryError,
    ),
    Text("cupy", "cupy_backends.cuda.api.runtime.CUDARuntimeError", "cudaErrorMemoryAllocation: out of memory", DEVICE),
    Text(
        "RMM",
        "MemoryError",
        "std::bad_alloc: out_of_memory: CUDA error (failed to allocate 4294967296 bytes) at: "
        "/env/include/rmm/mr/device/cuda_memory_resource.hpp:62: cudaErrorMemoryAllocation out of memory",
        DEVICE,
        4 * GIB,
    ),
    Text(
        "RMM",
        "MemoryError",
        "std::bad_alloc: out_of_memory: RMM failure at:/env/rmm/mr/device/pool_memory_resource.hpp:256: Maximum "
        "pool size exceeded",
        DEVICE,
    ),
    Text(
        "numba",
        "numba.cuda.cudadrv.driver.CudaAPIError",
        "[2] Call to cuMemAlloc results in CUDA_ERROR_OUT_OF_MEMORY",
        DEVICE,
        None,
        Exception,
    ),
    Text("PyCUDA", "pycuda._driver.MemoryError", "cuMemAlloc failed: out of memory", DEVICE, None, MemoryError),
    Text(
        "onnxruntime",
        "onnxruntime.capi.onnxruntime_pybind11_state.RuntimeException",
        ONNX,
        None,
        1200 * MIB,
        Exception,
    ),
    Text(
        "faiss",
        "RuntimeError",
        "Error in virtual void* faiss::gpu::StandardGpuResourcesImpl::allocMemory(const faiss::gpu::AllocRequest&) at "
        "/faiss/gpu/StandardGpuResources.cpp:452: Error: 'err == cudaSuccess' failed: StandardGpuResources: alloc fail "
        "type FlatData dev 0 space Device stream 0x55d0 size 1610612736 bytes (cudaMalloc error out of memory [2])",
        DEVICE,
        1536 * MIB,
    ),
    Text(
        "xgboost",
        "xgboost.core.XGBoostError",
        "[10:02:11] /src/data/../common/device_helpers.cuh:431: Memory allocation error on worker 0: std::bad_alloc: "
        "cudaErrorMemoryAllocation: out of memory",
        DEVICE,
        None,
        ValueError,
    ),
    Text(
        "paddle 2",
        "SystemError",
        "(Fatal) ResourceExhaustedError:\n\nOut of memory error on GPU 0. Cannot allocate 1.500000GB memory on GPU 0, "
        "15.25GB memory has been allocated and available memory is only 520.75MB.",
        DEVICE,
        1536 * MIB,
    ),
    # of other processes
    Text(
        "ray 2",
        "ray.exceptions.OutOfMemoryError",
        "Task was killed due to the node running low on memory.\nMemory on the node (IP: 10.0.0.7, ID: 3f) where the "
        "task (task ID: 9c, name=train, pid=771, memory used=21.40GB) was running was 60.20GB / 62.80GB (0.958599), "
        "which exceeds the memory usage threshold of 0.95.",
        HOST,
        None,
        Exception,
    ),
]

SOMETHING_ELSE = [
    Text("a port", "RuntimeError", "failed to allocate port 29500"),
    Text(
        "torch.distributed",
        "torch.distributed.DistNetworkError",
        "The server socket has failed to listen on any local network address. port: 29500, useIpv6: false, code: -98, "
        "name: EADDRINUSE, message: address already in use",
    ),
    Text("torch", "RuntimeError", "CUDA error: device-side assert triggered"),
    Text("torch", "RuntimeError", "CUDA error: an illegal memory access was encountered"),
    Text("torch", "RuntimeError", "CUDA error: misaligned address"),
    Text("torch", "RuntimeError", "CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`"),
    Text("torch", "RuntimeError", "CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm`"),
    Text("torch", "RuntimeError", "cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
    Text("torch", "RuntimeError", "CUDA error: CUDA-capable device(s) is/are busy or unavailable"),
    Text("torch XPU", "RuntimeError", "level_zero backend failed with error: 20 (UR_RESULT_ERROR_DEVICE_LOST)"),
    Text(
        "torch.distributed",
        "RuntimeError",
        "[Rank 3] Watchdog caught collective operation timeout: WorkNCCL(SeqNum=118, OpType=ALLREDUCE, "
        "Timeout(ms)=600000) ran for 600311 milliseconds before timing out.",
    ),
    Text("torch", "RuntimeError", "DataLoader worker (pid 3121) is killed by signal: Segmentation fault. "),
    Text("torch, a full disk", "RuntimeError", "[enforce fail at inline_container.cc:672] . unexpected pos 704 vs 598"),
    Text(
        "torch, a full disk",
        "RuntimeError",
        "PytorchStreamWriter failed writing file data/21: file write failed",
    ),
    Text(
        "torch, shared tensors",
        "RuntimeError",
        "unable to open shared memory object </torch_91_2_7>: Too many open files (24)",
    ),
    Text(
        "torch, shared tensors", "RuntimeError", "unable to write to file </torch_91_2_8>: No space left on device (28)"
    ),
    Text("torch", "RuntimeError", "received 0 items of ancdata"),
    Text("torch", "RuntimeError", "mat1 and mat2 shapes cannot be multiplied (64x512 and 256x10)"),
    Text("torch", "RuntimeError", "Trying to backward through the graph a second time"),
    Text(
        "triton",
        "triton.runtime.errors.OutOfResources",
        "out of resource: shared memory, Required: 163840, Hardware limit: 101376. Reducing block sizes or "
        "`num_stages` may help.",
        base=Exception,
    ),
    Text("threads", "RuntimeError", "can't start new thread"),
    Text("Python, a library of C", "ImportError", "libgomp.so.1: cannot allocate memory in static TLS block"),
    Text(
        "Python, a library of C",
        "ImportError",
        "/mnt/noexec/lib.so: failed to map segment from shared object: Operation not permitted",
    ),
    Text("a full disk", "OSError", "No space left on device"),
    Text(
        "safetensors",
        "safetensors_rust.SafetensorError",
        "I/O error: No space left on device (os error 28)",
        base=Exception,
    ),
    Text(
        "safetensors",
        "safetensors_rust.SafetensorError",
        "I/O error: Too many open files (os error 24)",
        base=Exception,
    ),
    Text(
        "safetensors",
        "safetensors_rust.SafetensorError",
        "Error while deserializing header: HeaderTooLarge",
        base=Exception,
    ),
    Text(
        "tensorflow, a full disk",
        TF + "ResourceExhaustedError",
        "/data/ckpt/model.data-00000-of-00001.tempstate1311; No space left on device [Op:SaveV2]",
        base=Exception,
    ),
    Text(
        "tensorflow, a quota",
        TF + "ResourceExhaustedError",
        "/home/u/events.out.v2; Disk quota exceeded",
        base=Exception,
    ),
    Text(
        "tensorflow, files",
        TF + "ResourceExhaustedError",
        "/data/records/part-00073.tfrecord; Too many open files [Op:IteratorGetNext]",
        base=Exception,
    ),
    Text(
        "tensorflow, gRPC",
        TF + "ResourceExhaustedError",
        "Received message larger than max (104867425 vs. 4194304)",
        base=Exception,
    ),
    Text(
        "tensorflow",
        TF + "InternalError",
        "Blas xGEMM launch failed : a.shape=[1,64,512], b.shape=[1,512,10]",
        base=type("OpError", (Exception,), {}),
    ),
    Text(
        "tensorflow",
        TF + "UnknownError",
        "Failed to get convolution algorithm. This is probably because cuDNN failed to initialize",
        base=type("OpError", (Exception,), {}),
    ),
    Text(
        "jax, on the chip",
        XLA,
        "RESOURCE_EXHAUSTED: Shared memory size limit exceeded: requested 81920, available: 65536",
    ),
    Text(
        "jax, on the chip", XLA, "RESOURCE_EXHAUSTED: Ran out of memory in memory space vmem. Used 18.5M of 16.0M vmem."
    ),
    Text("jax, gRPC", XLA, "RESOURCE_EXHAUSTED: grpc: received message larger than max (5242891 vs. 4194304)"),
    Text("jax", XLA, "FAILED_PRECONDITION: DNN library initialization failed."),
    Text("jax", XLA, "DEADLINE_EXCEEDED: Barrier timed out. Barrier_id: PjRT_Client_Connect"),
    Text(
        "redis",
        "redis.exceptions.OutOfMemoryError",
        "command not allowed when used memory > 'maxmemory'.",
        base=Exception,
    ),
    Text(
        "a service", "google.api_core.exceptions.ResourceExhausted", "429 Quota exceeded for rate limit", base=Exception
    ),
    Text(
        "a pool",
        "concurrent.futures.process.BrokenProcessPool",
        "A process in the process pool was terminated abruptly",
    ),
    Text(
        "torch.multiprocessing",
        "torch.multiprocessing.spawn.ProcessExitedException",
        "process 0 terminated with signal SIGKILL",
        base=Exception,
    ),
    Text(
        "torch.multiprocessing",
        "torch.multiprocessing.spawn.ProcessRaisedException",
        IN_CHILD.format(error="KeyError: 'labels'\n"),
        base=Exception,
    ),
    Text("any", "ValueError", "out of memory"),
    Text("vLLM", "ValueError", "No available memory for the cache blocks. Try increasing `gpu_memory_utilization`."),
    Text("recursion", "RecursionError", "maximum recursion depth exceeded"),
]
