"""More of the same table: rarer texts, on other accelerators and in other libraries, and its look-alikes."""

from __future__ import annotations

from support.out_of_memory_texts import DEVICE, GIB, HOST, KIB, MIB, NCCL, TF, XLA, Text

OP = type("OpError", (Exception,), {})

OUT_OF_MEMORY = [
    Text(
        "torch_npu",
        "RuntimeError",
        "NPU out of memory. Tried to allocate 2.25 GiB (NPU 5; 60.96 GiB total capacity; 51.02 GiB already "
        "allocated; 51.02 GiB current active; 1.10 GiB free; 56.80 GiB reserved in total by PyTorch) If reserved "
        "memory is >> allocated memory try setting max_split_size_mb to avoid fragmentation.",
        DEVICE,
        2304 * MIB,
    ),
    Text(
        "torch 0.4",
        "RuntimeError",
        "cuda runtime error (2) : out of memory at /pytorch/aten/src/THC/THCStorage.cu:58",
        DEVICE,
    ),
    Text(
        "torch 0.3",
        "RuntimeError",
        "$ Torch: not enough memory: you tried to allocate 3GB. Buy new RAM! at /pytorch/torch/lib/TH/THGeneral.c:253",
        HOST,
        3 * GIB,
    ),
    Text(
        "torch 1.0",
        "RuntimeError",
        "[enforce fail at CPUAllocator.cpp:56] posix_memalign(&data, gAlignment, nbytes) == 0. 12 vs 0",
        HOST,
    ),
    Text(
        "torch 1.8, windows",
        "RuntimeError",
        "[enforce fail at ..\\c10\\core\\CPUAllocator.cpp:72] data. DefaultCPUAllocator: not enough memory: you "
        "tried to allocate 113246208 bytes. Buy new RAM!",
        HOST,
        113246208,
    ),
    Text(
        "spconv",
        "RuntimeError",
        "TensorStorage /io/include/tensorview/tensor.h 168\ncuda failed with error 2 out of memory. use "
        "CUDA_LAUNCH_BLOCKING=1 to get correct traceback.",
        DEVICE,
    ),
    Text("triton", "RuntimeError", "Triton Error [CUDA]: out of memory", DEVICE),
    Text("ctranslate2", "RuntimeError", "CUDA failed with error out of memory", DEVICE),
    Text(
        "torch MPS",
        "RuntimeError",
        "MPS backend out of memory (MPS allocated: 16.00 GB, other allocations: 3.31 GB, max allowed: 18.13 GB). "
        "Tried to allocate 256 bytes on shared pool. Use PYTORCH_MPS_HIGH_WATERMARK_RATIO=0.0 to disable upper "
        "limit for memory allocations (may cause system failure).",
        DEVICE,
        256,
    ),
    Text(
        "mlx",
        "RuntimeError",
        "[METAL] Command buffer execution failed: Insufficient Memory "
        "(00000008:kIOGPUCommandBufferCallbackErrorOutOfMemory)",
        DEVICE,
    ),
    Text(
        "mlx",
        "RuntimeError",
        "[metal::malloc] Attempting to allocate 48736917632 bytes which is greater than the maximum allowed buffer "
        "size of 30150672384 bytes.",
        DEVICE,
        48736917632,
    ),
    Text("mlx", "RuntimeError", "[malloc_or_wait] Unable to allocate 2147483648 bytes.", DEVICE, 2 * GIB),
    Text(
        "habana",
        "RuntimeError",
        "[Rank:0] FATAL ERROR :: MODULE:PT_DEVMEM Allocation failed for size::3288334336 (3136)MB",
        DEVICE,
        3136 * MIB,
    ),
    Text(
        "catboost",
        "_catboost.CatBoostError",
        "catboost/cuda/cuda_lib/memory_pool/stack_like_memory_pool.h:303: Error: Out of memory. Requested 7040 MB; "
        "Free 5211.17 MB",
        DEVICE,
        7040 * MIB,
        Exception,
    ),
    Text("catboost", "_catboost.CatBoostError", "bad allocation", HOST, None, Exception),
    Text("lightgbm", "lightgbm.basic.LightGBMError", "Out of Host Memory", HOST, None, Exception),
    Text("lightgbm", "lightgbm.basic.LightGBMError", "Memory Object Allocation Failure", DEVICE, None, Exception),
    Text("lightgbm", "lightgbm.basic.LightGBMError", "std::bad_alloc", HOST, None, Exception),
    Text(
        "lightgbm",
        "lightgbm.basic.LightGBMError",
        "[CUDA] out of memory /src/LightGBM/include/LightGBM/cuda/cuda_utils.hu 40",
        DEVICE,
        None,
        Exception,
    ),
    Text(
        "jax",
        XLA,
        "RESOURCE_EXHAUSTED: Out of memory while trying to allocate 4770354232 bytes.\nBufferAssignment OOM "
        "Debugging.\nBufferAssignment stats:\n             parameter allocation:  372.76MiB",
        None,
        4770354232,
    ),
    Text(
        "jax 0.1",
        "RuntimeError",
        "Resource exhausted: Failed to allocate request for 32.00MiB (33554432B) on device ordinal 0",
        None,
        32 * MIB,
    ),
    Text(
        "jax, autotune",
        XLA,
        "INTERNAL: Failed to load in-memory CUBIN: CUDA_ERROR_OUT_OF_MEMORY: out of memory",
        DEVICE,
    ),
    Text(
        "jax, cuda graph",
        XLA,
        "INTERNAL: Failed to instantiate CUDA graph: CUDA_ERROR_OUT_OF_MEMORY: out of memory",
        DEVICE,
    ),
    Text("polars", "OSError", "Cannot allocate memory (os error 12)", HOST),
    Text("pyarrow", "pyarrow.lib.ArrowMemoryError", "realloc of size 8589934592 failed", HOST, 8 * GIB, MemoryError),
    Text(
        "paddle",
        "RuntimeError",
        "ResourceExhaustedError:\n\nOut of memory error on GPU 0. Cannot allocate 98.000244MB memory on GPU 0, "
        "6.000000GB memory has been allocated and available memory is only 0.000000B.",
        DEVICE,
        102760703,
    ),
    Text(
        "torch XPU",
        "torch.OutOfMemoryError",
        "XPU out of memory. Tried to allocate 512.00 MiB. GPU 0 has a total capacity of 16.50 GiB. Of the allocated "
        "memory 16.50 GiB is allocated by PyTorch, and 0 bytes is reserved by PyTorch but unallocated. Please use "
        "`empty_cache` to release all unoccupied cached memory.",
        DEVICE,
        512 * MIB,
    ),
    Text(
        "tiny-cuda-nn",
        "RuntimeError",
        "/tmp/tiny-cuda-nn/include/tiny-cuda-nn/gpu_memory.h:590 cuMemSetAccess(m_base_address + m_size, "
        "n_bytes_to_allocate, &access_desc, 1) failed: CUDA_ERROR_OUT_OF_MEMORY",
        DEVICE,
    ),
    Text(
        "tiny-cuda-nn",
        "RuntimeError",
        "Could not allocate memory: CUDA Error: cudaMalloc(&rawptr, n_bytes+DEBUG_GUARD_SIZE*2) failed with error "
        "out of memory",
        DEVICE,
    ),
    Text(
        "torch, compile",
        "torch._dynamo.exc.BackendCompilerFailed",
        "backend='inductor' raised:\nOutOfMemoryError: CUDA out of memory. Tried to allocate 64.00 MiB. GPU 0 has",
        DEVICE,
        64 * MIB,
    ),
    Text(
        "torch.futures/rpc",
        "RuntimeError",
        "On WorkerInfo(id=1, name=worker1):\nOutOfMemoryError('CUDA out of memory. Tried to allocate 20.00 MiB. GPU "
        "1 has')",
        DEVICE,
        20 * MIB,
    ),
    Text(
        "tensorflow",
        TF + "InternalError",
        "CUDA runtime implicit initialization on GPU:0 failed. Status: out of memory",
        DEVICE,
        None,
        OP,
    ),
    Text("tensorflow", TF + "InternalError", "Could not allocate ndarray", HOST, None, OP),
    Text("tensorflow", TF + "ResourceExhaustedError", "failed to allocate memory [Op:Mul]", None, None, OP),
    Text(
        "tensorflow",
        TF + "ResourceExhaustedError",
        "SameWorkerRecvDone unable to allocate output tensor. Key: "
        "/job:localhost/replica:0/task:0/device:CPU:0;0000000000000001;/job:localhost/replica:0/tas"
        "k:0/device:GPU:0;edge_9",
        DEVICE,
        None,
        OP,
    ),
    Text(
        "opencv",
        "cv2.error",
        "OpenCV(4.8.0) /io/opencv/modules/core/src/alloc.cpp:73: error: (-4:Insufficient memory) Failed to allocate "
        "3686400000 bytes in function 'OutOfMemoryError'",
        HOST,
        3686400000,
        Exception,
    ),
    Text(
        "duckdb",
        "duckdb.duckdb.OutOfMemoryException",
        "Out of Memory Error: could not allocate block of size 256.0 KiB (12.4 GiB/12.4 GiB used)",
        HOST,
        256 * KIB,
        Exception,
    ),
    Text(
        "tokenizers",
        "pyo3_runtime.PanicException",
        'called `Result::unwrap()` on an `Err` value: Os { code: 12, kind: OutOfMemory, message: "Cannot allocate '
        'memory" }',
        HOST,
        None,
        BaseException,
    ),
    Text(
        "nccl",
        "torch.distributed.DistBackendError",
        NCCL.format(last="Failed to CUDA host alloc 4194304 bytes"),
        HOST,
        4 * MIB,
    ),
]

SOMETHING_ELSE = [
    Text("habana", "RuntimeError", "Graph compile failed. synStatus=synStatus 26 [Generic failure]. "),
    Text("jax, blas", XLA, "INTERNAL: Failed to create cuBLAS handle: the requested functionality is not supported"),
    Text(
        "jax, dnn",
        XLA,
        "FAILED_PRECONDITION: DNN library initialization failed. Look at the errors above for more details.",
    ),
    Text(
        "vllm",
        "ValueError",
        "Free memory on device (31.44/47.38 GiB) on startup is less than desired GPU memory utilization (0.95, "
        "45.01 GiB). Decrease GPU memory utilization or reduce GPU memory used by other processes.",
    ),
    Text(
        "vllm",
        "ValueError",
        "To serve at least one request with the model's max seq len (131072), 16.00 GiB KV cache is needed, which "
        "is larger than the available KV cache memory",
    ),
    Text("accelerate", "RuntimeError", "No executable batch size found, reached zero."),
    Text("torch XPU", "RuntimeError", "level_zero backend failed with error: 2147483646 (UR_RESULT_ERROR_UNKNOWN)"),
    Text("pytorch3d/ops", "RuntimeError", "CUDA error: too many resources requested for launch"),
    Text("torch, IPC", "RuntimeError", "CUDA error: invalid device ordinal"),
    Text("torch mmap", "RuntimeError", "unable to mmap 9126805504 bytes from file <model.pt>: No such device (19)"),
    Text(
        "torch shm",
        "RuntimeError",
        "unable to allocate shared memory(shm) for file </torch_29919_2081_0>: Resource temporarily unavailable (11)",
    ),
    Text(
        "torch shm",
        "RuntimeError",
        "unable to allocate shared memory(shm) for file </torch_91_2_9>: No space left on device (28)",
    ),
    Text(
        "torch, compile",
        "torch._inductor.exc.InductorError",
        "RuntimeError: No valid triton configs. OutOfMemoryError: out of resource: triton_mm Required: 147456 "
        "Hardware limit:101376 Reducing block sizes or `num_stages` may help.",
    ),
    Text(
        "torch, fx",
        "torch._dynamo.exc.TorchRuntimeError",
        "Dynamo failed to run FX node with fake tensors: call_function <built-in function matmul>",
    ),
    Text(
        "tensorflow",
        TF + "InternalError",
        "Attempting to perform BLAS operation using StreamExecutor without BLAS support",
        base=OP,
    ),
    Text(
        "sklearn/loky",
        "joblib.externals.loky.process_executor.TerminatedWorkerError",
        "A worker process managed by the executor was unexpectedly terminated. This could be caused by a "
        "segmentation fault while calling the function or by an excessive memory usage causing the Operating System "
        "to kill the worker.",
    ),
    Text("zarr/blosc", "RuntimeError", "error during blosc decompression: -1"),
    Text(
        "PIL",
        "PIL.Image.DecompressionBombError",
        "Image size (400000000 pixels) exceeds limit of 178956970 pixels, could be decompression bomb DOS attack.",
    ),
    Text("subprocess", "BlockingIOError", "[Errno 11] Resource temporarily unavailable"),
    Text(
        "nccl",
        "torch.distributed.DistBackendError",
        NCCL.format(last="Error while creating shared memory segment /dev/shm/nccl-BKFVZl (size 9637888)"),
    ),
    Text(
        "nccl",
        "torch.distributed.DistBackendError",
        NCCL.format(last="Cuda failure 'CUDA driver version is insufficient for CUDA runtime version'"),
    ),
    Text("cutlass/flash", "RuntimeError", "Error Internal: CUTLASS failed: Error Workspace Null"),
]
