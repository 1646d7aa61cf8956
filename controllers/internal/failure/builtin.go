package failure

import (
	"strings"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
)

// Builtin are the rules that hold for every engine, after its own, in the form
// that an engine's own have. Their actions are plan's, by reason, unless a rule names
// its own.
//
// The order is that of certainty: what the kernel says, what a driver says of
// its hardware, what names one cause; then what a broken image or the absence of
// a network leaves behind; then the stage in which it died without a word.
//
// Sources of the wordings: PyTorch (c10/cuda, torch/cuda, torch/utils/data,
// torch/serialization, torch/hub), NVIDIA's CUDA runtime, cuDNN and cuBLAS
// status names and its Xid catalogue, the Linux kernel (mm/oom_kill.c), glibc's
// strerror and ld.so, OpenCV, FFmpeg, pyrender, PyOpenGL, ONNX Runtime,
// TensorFlow, Caffe, smplx, PHALP.
func Builtin() []v1alpha1.FailureRule {
	var rules []v1alpha1.FailureRule
	for _, group := range [][]v1alpha1.FailureRule{
		memoryRules, protocolRules, hardwareRules, gpuMemoryRules, deviceRules, hostMemoryRules, diskRules,
		weightRules, inputRules, renderingRules, kubeletRules, imageRules, computeRules, networkRules, silentRules,
	} {
		rules = append(rules, group...)
	}
	return rules
}

// words is a pattern of alternatives, whatever their case.
func words(alternatives ...string) string {
	return "(?i)" + strings.Join(alternatives, "|")
}

var memoryRules = []v1alpha1.FailureRule{{
	Memory: v1alpha1.MemoryAtLimit, Reason: v1alpha1.ReasonOutOfMemory,
}}

// protocolRules read the last word of an engine that speaks the operator's own
// protocol, `pose-engine: error code=CODE message="..."`, as far as a code means the
// same for every engine. Such an engine knows better than any wording in its log.
var protocolRules = []v1alpha1.FailureRule{
	{
		LogPattern:  lastWord(`BOXES_INVALID`),
		Reason:      v1alpha1.ReasonInputInvalid,
		Explanation: "The boxes of spec.video.boxes do not fit the video",
		Remedy:      "Correct the file; docs/boxes.md has the format",
	},
	{LogPattern: lastWord(`INPUT_UNREADABLE`, `NO_FRAMES`), Reason: v1alpha1.ReasonInputInvalid},
	{LogPattern: lastWord(`WEIGHTS_MISSING`), Reason: v1alpha1.ReasonWeightsMissing},
	{LogPattern: lastWord(`MODEL_UNREADABLE`), Reason: v1alpha1.ReasonWeightsInvalid},
	{LogPattern: lastWord(`GPU_UNAVAILABLE`), Reason: v1alpha1.ReasonDeviceUnusable},
	{LogPattern: lastWord(`GPU_OUT_OF_MEMORY`), Reason: v1alpha1.ReasonCUDAOutOfMemory},
	{LogPattern: lastWord(`HOST_OUT_OF_MEMORY`), Reason: v1alpha1.ReasonOutOfMemory},
	{LogPattern: lastWord(`IMAGE_UNSUITABLE`), Reason: v1alpha1.ReasonImageIncompatible},
	{LogPattern: lastWord(`RESULT_INVALID`), Reason: v1alpha1.ReasonOutputInvalid},
	{LogPattern: lastWord(outputNotWritable) + `.*/dev/shm.*No space left`, Reason: v1alpha1.ReasonSharedMemoryTooSmall},
	{LogPattern: lastWord(outputNotWritable) + `.*(?i:` + strings.Join(diskFull, "|") + `)`, Reason: v1alpha1.ReasonScratchSpaceExceeded},
	{
		// The disk of the node is broken or read-only, or the folder is not the
		// engine's to write to: the same node would load all models for the same end.
		LogPattern:  lastWord(outputNotWritable),
		Reason:      v1alpha1.ReasonEngineError,
		Action:      v1alpha1.ActionRetryElsewhere,
		Explanation: "The engine could not write its results, and not for want of space",
		Remedy:      "Look at the disk of the node and its kernel log; where every node fails, the user of the variant's image may not write to the output folder: check the variant's securityContext",
	},
}

const outputNotWritable = `OUTPUT_NOT_WRITABLE`

func lastWord(codes ...string) string {
	return `^pose-engine: error code=(?:` + strings.Join(codes, "|") + `)(?: |$)`
}

// hardwareXids are the codes of NVIDIA's catalogue whose cause is the hardware, its
// memory, its links or its firmware (https://docs.nvidia.com/deploy/xid-errors).
const hardwareXids = `48|56|57|58|62|63|64|65|74|79|81|92|94|95|110|119|120|136|140|143|144|145|149|150|154`

var hardwareRules = []v1alpha1.FailureRule{
	{
		LogPattern: words(`Xid(?:[^:]*(?:\([^)]*\))?: |=)(?:`+hardwareXids+`)\b`, `caused by previous Xid (?:`+hardwareXids+`)\b`),
		Reason:     v1alpha1.ReasonGPUHardwareFault,
	},
	{
		LogPattern: words(
			`fallen off the bus`, `GPU is lost`, `uncorrectable (?:NVLink|ECC)`, `double[- ]bit ECC`, `\bECC error`, `cudaErrorECCUncorrectable`,
			`hardware stack error`, `cudaErrorHardwareStackError`, `CUDA_ERROR_(?:ECC_UNCORRECTABLE|HARDWARE_STACK_ERROR|NVLINK_UNCORRECTABLE)`,
			`row remapp(?:er|ing) (?:failure|error)`, `GPU requires reset`, `GPU reset (?:required|failed)`, `amdgpu.*(?:GPU reset|ring \w+ timeout|RAS.*uncorrectable)`,
			`Unable to determine the device handle for (?:GPU|gpu)`, `GSP (?:RPC|firmware).*(?:timeout|timed out|crash)`, `\bGSP Timeout\b|kgspLogRpcTimeout`,
		),
		Reason: v1alpha1.ReasonGPUHardwareFault,
	},
	{
		// Every other Xid is of the program that ran on the GPU, or its driver.
		LogPattern: words(`Xid(?:[^:]*(?:\([^)]*\))?: |=)\d+`),
		Reason:     v1alpha1.ReasonCUDAError,
	},
}

var gpuMemoryRules = []v1alpha1.FailureRule{
	{
		LogPattern: words(
			`\b(?:CUDA\w*|HIP|XPU|MPS|GPU|VRAM|device)\b.{0,80}\bout[- ]of[- ]memory`, `torch\.(?:cuda\.)?OutOfMemoryError`, `(?:CUDA|cuda\w*|HIP) (?:runtime )?(?:error|failure)[^:]*: out of memory`,
			`(?:CUDA|HIP)[ _](?:driver )?error[ :=]*(?:\(?\d+\)?:? ?)?out of memory`, `cudaErrorMemoryAllocation`, `CUDA_ERROR_OUT_OF_MEMORY`, `hipErrorOutOfMemory`,
			`(?:CUBLAS|CUDNN|CUSOLVER|CUSPARSE|HIPBLAS)_STATUS_ALLOC_FAILED`, `CUFFT_ALLOC_FAILED`,
			`(?:cuMem|cudaMalloc|cuda_malloc|cuMalloc|hipMalloc)\w*.{0,60}(?:out of memory|failed to allocate)`,
		),
		Reason: v1alpha1.ReasonCUDAOutOfMemory,
	},
	{
		LogPattern: words(
			`out[- ]of[- ]memory\b.{0,60}\b(?:on|in) (?:the )?(?:CUDA|GPU|device)`, `VK_ERROR_OUT_OF_DEVICE_MEMORY|vkAllocateMemory failed`, `GPU_\d_bfc`, `BFC ?Arena.*(?:failed to allocate|available memory)`, `OOM when allocating tensor.*GPU`, `RESOURCE_EXHAUSTED: .*(?:OOM|out of memory|device)`,
			`ResourceExhaustedError.*(?:OOM|memory)`, `cupy.*OutOfMemoryError`, `cudaSuccess \(2 vs\. 0\)`, `(?:GPU|VRAM|video memory|device memory).{0,40}(?:exhausted|insufficient|not enough|is full)`,
			`(?:insufficient|not enough|out of) (?:GPU|VRAM|video|device) memory`, `cuda runtime error \(2\)|THCudaCheck FAIL.*error=2\b`, `Tried to allocate .*(?:GPU \d|total capacity)`, `NVRM.*out of memory`,
			`failed to allocate \S+ ?\S* .*on (?:device|GPU)`, `Unable to allocate \w+ memory on (?:device|GPU)`, `\[MemUsageChange\].*fail|TRT.*(?:OutOfMemory|out of memory)|OutOfMemory.*(?:TensorRT|GPU)`,
		),
		Reason: v1alpha1.ReasonCUDAOutOfMemory,
	},
}

var deviceRules = []v1alpha1.FailureRule{
	{
		LogPattern: words(
			`no kernel image is available`, `not compatible with the current PyTorch installation`, `device kernel image is invalid`,
			`cudaErrorNoKernelImageForDevice|CUDA_ERROR_NO_BINARY_FOR_GPU`, `compiled with an unsupported toolchain`, `CUDA_ERROR_UNSUPPORTED_PTX_VERSION`,
			`(?:CUDNN|CUBLAS)_STATUS_ARCH_MISMATCH`, `invalid device function`, `PTX JIT compiler library not found`, `Unsupported gpu architecture`, `unknown CUDA arch`,
			`only supports (?:CUDA|GPU)s? (?:with )?(?:compute )?capabilit`, `hipErrorNoBinaryForGpu`,
		),
		Reason:      v1alpha1.ReasonDeviceUnusable,
		Explanation: "The image holds no code for this kind of GPU, or its CUDA is newer than the node's driver",
		Remedy:      "Use an image that was built for this GPU's compute capability, or another kind of GPU (the variant's nodeSelector)",
	},
	{
		LogPattern: words(
			`Found no NVIDIA driver`, `NVIDIA driver on your system is too old`, `driver version is insufficient`, `CUDA driver (?:version|initialization|library)`, `cudaErrorInsufficientDriver`,
			`no CUDA[- ]capable device`, `No (?:CUDA|HIP) GPUs are available`, `cudaErrorNoDevice|CUDA_ERROR_NO_DEVICE|hipErrorNoDevice`, `CUDA_ERROR_(?:INVALID_DEVICE|SYSTEM_DRIVER_MISMATCH|SYSTEM_NOT_READY|COMPAT_NOT_SUPPORTED_ON_DEVICE|NOT_INITIALIZED|DEVICE_UNAVAILABLE|STUB_LIBRARY)`,
			`not compiled with (?:CUDA|GPU|CuDNN)`, `compiled without (?:CUDA|GPU)`, `Torch not (?:compiled|built) with CUDA`, `(?:requires|without) CUDA (?:support|enabled)`,
			`NVIDIA-SMI (?:has failed|couldn't)`, `Driver/library version mismatch`, `Failed to initialize NVML`, `\b(?:py)?nvml\w*\b.{0,40}(?:not found|not loaded|error|uninitialized|fail)`, `\bNVMLError\w*`, `nvidia-smi: (?:command )?not found`, `Invalid CUDA '?device`, `torch\.cuda\.device_count\(\) is`,
			`invalid device ordinal`, `forward compatibility was attempted`, `CUDA-capable device\S* (?:is|are|is/are) busy`, `CPU[- ]only (?:Caffe|build|version)`, `system not yet initialized`,
		),
		Reason: v1alpha1.ReasonDeviceUnusable,
	},
	{
		LogPattern: words(
			`nvidia-container-(?:cli|runtime)\S*:? .*(?:error|fail|not found)`, `could not select device driver`, `unresolvable CDI devices`, `failed to (?:inject|discover) .*(?:CDI|nvidia|gpu)`, `unknown or invalid runtime name: nvidia`, `no runtime for "?nvidia`,
			`(?:cudaGetDevice\w*|cuInit|hipGetDevice\w*)\W.*(?:error|fail)`, `Unexpected error from cudaGetDeviceCount`, `CUDA (?:unknown error|initialization(?: error)?)`, `initialization error`, `failed call to cuInit`,
			`torch\.cuda\.is_available\(\) is False`, `(?:CUDA|Tensorrt|ROCM)ExecutionProvider.{0,30}\bnot\b`, `(?:CUDNN|CUBLAS|CUSOLVER)_STATUS_NOT_INITIALIZED`, `libcuda\.so(?:\.1)?: (?:cannot open|file too short)`, `libnvidia-\S+: cannot open`, `RmInitAdapter failed`, `nvidia.*probe.* failed`,
			`(?:devices|GPUs?) unavailable for \w+\.com/`, `no healthy devices present|cannot allocate unhealthy devices`, `GPU access blocked`, `HSA_STATUS_ERROR`, `ROCk module is NOT loaded`, `Unable to open /dev/kfd`, `/dev/nvidia\S*.*(?:No such|not found|Operation not permitted)`, `GPU (?:is )?not (?:available|found|detected)`, `No GPU(?:s)? (?:is |are )?(?:available|found|detected)`, `CUDA (?:is )?(?:not|un)available|CUDA is not (?:available|supported)`,
		),
		Reason: v1alpha1.ReasonDeviceUnusable,
	},
}

var hostMemoryRules = []v1alpha1.FailureRule{
	{
		LogPattern: words(
			`insufficient shared memory`, `out of shared memory`, `(?:unable to|could not|cannot|failed to) (?:open|allocate|write|mmap|create|resize)[^.]*(?:shared memory|\bshm\b|torch_\d)`,
			`/dev/shm\S*.*(?:No space|too small|Cannot allocate|full)`, `No space left on device.*(?:/dev/shm|/torch_\d|shared memory|psm_)`, `(?:shm_open|shmget|ftruncate)\S* ?.*(?:failed|No space|error)`, `unexpected bus error encountered in worker`, `killed by signal: Bus error`, `shared memory (?:is )?(?:too small|exhausted|full)`, `(?:error while creating|Error.*) shared memory segment`,
		),
		Reason: v1alpha1.ReasonSharedMemoryTooSmall,
	},
	{
		// A page of a mapping could not be supplied; without another word the
		// shared memory of a container is the usual one.
		LogPattern: `^\s*(?:.*: line \d+:\s+\d+ )?Bus error\b|Signal: Bus error|SIGBUS`,
		Reason:     v1alpha1.ReasonSharedMemoryTooSmall,
	},
	{
		LogPattern: words(
			`Out of memory: Kill(?:ed)? process`, `Memory cgroup out of memory`, `oom[-_]kill(?:er)?\b`, `oom_reaper`, `\bOOMKilled\b`, `task_memcg=.*task=`,
			`killed by signal: Killed`, `(?:signal 9|SIGKILL)\b`, `exitcode: -9`, `died with <Signals\.SIGKILL`, `^\s*(?:.*: line \d+:\s+\d+ )?Killed\b`, `\+\+\+ killed by SIGKILL`,
		),
		Memory: v1alpha1.MemoryUnknown, Reason: v1alpha1.ReasonOutOfMemory,
		Explanation: "The process was killed from outside (SIGKILL), which is what the kernel does when host memory runs out; nobody measured its memory",
	},
	{
		LogPattern: words(
			`\bMemoryError\b`, `std::bad_alloc`, `DefaultCPUAllocator: .*(?:allocate memory|not enough memory)`, `Cannot allocate memory$`, `\[Errno 12\]`, `Cannot allocate memory[^i]*$`,
			`Unable to allocate .* for an array`, `memory allocation of \d+ bytes failed`, `Insufficient memory`, `(?:OutOfMemory|out of memory)(?:Error)?:? .*(?:host|cpu|system|RAM)`, `(?:host|cpu|system) (?:memory|RAM).{0,30}(?:exhausted|insufficient|not enough)`,
			`posix_memalign|mmap\S* .*Cannot allocate`, `fork: (?:retry: )?(?:Cannot|Resource)`, `Failed to allocate \d+ bytes`, `\bENOMEM\b`, `java\.lang\.OutOfMemoryError`, `TerminatedWorkerError|excessive memory usage`, `paging file is too small`, `ArrayMemoryError`, `memory exhausted`, `Out of memory\b`,
		),
		Reason: v1alpha1.ReasonOutOfMemory,
	},
}

// diskFull is how a disk, a quota or a limit of a file's size says that it is used up.
var diskFull = []string{
	`No space left on device`, `\bENOSPC\b`, `\[Errno 28\]`, `Disk quota exceeded`, `\[Errno 122\]`, `(?:disk|volume|filesystem|file system) (?:is )?full`, `(?:not enough|insufficient) (?:free )?disk space`, `(?:not enough|insufficient) (?:free )?space (?:on|left|in|available)`,
	`unexpected pos \d+ vs`, `PytorchStreamWriter failed writing`, `File too large|\[Errno 27\]`, `ephemeral[- ](?:local[- ])?storage`,
}

var diskRules = []v1alpha1.FailureRule{{LogPattern: words(diskFull...), Reason: v1alpha1.ReasonScratchSpaceExceeded}}

// weightFile is what files with weights or body models are called.
const weightFile = `\.(?:pth?|ckpt|pkl|onnx|h5|hdf5|caffemodel|prototxt|pb|tflite|task|npz|npy|safetensors|t7|tar|trt|weights|model|gguf|keras)\b`

var weightRules = []v1alpha1.FailureRule{
	{
		LogPattern: words(
			`PytorchStreamReader failed`, `failed finding central directory`, `invalid load key`, `UnpicklingError`, `pickle data was truncated`, `EOFError: Ran out of input`, `unexpected EOF, expected \d+ more`,
			`Error\(s\) in loading state_dict`, `size mismatch for \S+`, `(?:Missing|Unexpected) key\(s\) in state_dict`, `invalid magic number`, `Weights only load failed`, `(?:checkpoint|weights?|model)(?: file)?\b[^.]{0,60}(?:corrupt|truncated)`, `corrupt(?:ed)? (?:checkpoint|model|weights?|file)`, `file might be corrupt`,
			`SafetensorError`, `HeaderTooLarge|MetadataIncompleteBuffer|InvalidHeader`, `INVALID_PROTOBUF`, `Protobuf parsing failed`,
		),
		Reason: v1alpha1.ReasonWeightsInvalid,
	},
	{
		LogPattern: words(
			`invalid hash value`, `(?:hash|sha256|md5|checksum)\w* (?:value )?(?:mismatch|does not match|not match|verification failed)`, `(?:truncated file|file signature not found)`, `BadZipFile|not a zip file`, `Unable to (?:synchronously )?open (?:object|file)`,
			`Failed to parse (?:NetParameter|the model|ONNX|.*proto)`, `Unsupported model IR version`, `ModelProto.*(?:fail|corrupt|parse)`, `Could not open .*\.tflite|Model provided.*invalid`, `not a (?:valid )?(?:checkpoint|model|onnx|torch ?script)`, `Unrecognized (?:checkpoint|model) (?:file|format)`, `magic_number|load_persistent`, `constants\.pkl`, `shape mismatch.*(?:checkpoint|load)`, `KeyError: '(?:state_dict|model_state_dict|model)'`,
		),
		Reason: v1alpha1.ReasonWeightsInvalid,
	},
	{
		LogPattern: words(
			`(?:No such file|not found|not exist|doesn't exist|cannot find|can't find|cannot open|can't open|couldn't open|failed to open|unable to open|missing|not a file|Errno 2).{0,200}`+weightFile,
			weightFile+`.{0,60}(?:not found|not exist|doesn't exist|No such file|missing|not a file|failed\. ?File doesn't exist)`,
			`(?:No such file|not found|not exist|doesn't exist).{0,160}/(?:weights|checkpoints?|ckpts?|models?|body_models?|pretrained\w*|model_zoo)/`, `\b(?:SMPL|MANO|FLAME|J_regressor)[-_\w]*\b.{0,80}(?:not found|not exist|missing|download)`, `(?:cannot|could ?n[o']t|can't|failed to|unable to) (?:find|locate|load|open|read) .{0,60}(?:weights?|checkpoint|model file|pre-?trained)`,
			`AssertionError: Checkpoint `, `(?:weights?|checkpoint|pre-?trained model|model file)s?\b.{0,80}(?:not found|not exist|missing|could not be found)`, `No (?:checkpoint|weights?|model file)s? found`, `NO_SUCHFILE`,
		),
		Reason: v1alpha1.ReasonWeightsMissing,
	},
	{
		LogPattern: words(
			`huggingface\.co|LocalEntryNotFoundError|HfHubHTTPError|GatedRepoError|RepositoryNotFoundError|not a valid model identifier|local_files_only`, `Cannot retrieve the (?:public link|folder)`, `gdown\b.*(?:error|fail)`, `drive\.google\.com`,
			`(?:fail\w*|error|unable|cannot|could not|refused|timed out|403|404).{0,120}https?://\S+`+weightFile, `https?://\S+`+weightFile+`.{0,160}(?:fail|error|404|403|refused|timed out)`, `(?:fail\w*|error|unable) (?:to )?download(?:ing)?\b`, `Download(?:ing)? (?:failed|failure|error|of)`, `dl\.fbaipublicfiles\.com|download\.pytorch\.org|storage\.googleapis\.com/mediapipe`,
		),
		Reason: v1alpha1.ReasonWeightsMissing,
	},
	{
		// What a library of weights was asking for when the network was not there.
		LogPattern: `(?s)File "[^"]*(?:torch/hub\.py|iopath/|fvcore/common/(?:download|file_io)|gdown/|huggingface_hub/|detectron2/checkpoint/|torchvision/_internally_replaced|timm/models/(?:_hub|_builder)|model_zoo)[^"]*".*(?:URLError|HTTPError|ConnectionError|gaierror|Timeout|SSLError|ProxyError|OSError|FileNotFoundError)`,
		Reason:     v1alpha1.ReasonWeightsMissing,
	},
}

var inputRules = []v1alpha1.FailureRule{
	{
		LogPattern: words(
			`moov atom not found`, `Invalid data found when processing input`, `InvalidDataError`, `Invalid source path`, `could not find codec parameters`, `cannot find video stream`, `does not contain any (?:video )?stream`, `no video stream`,
			`(?:could ?n[o']t|cannot|can't|fail\w* to|unable to|error) (?:open|read|decode|load|opening|reading|decoding|loading|grab|capture)[^.:]{0,25}[ '"/](?:video|movie|clip|capture|frames?|stream)\b`, `(?:video|movie|capture|stream)\b.{0,80}(?:could not be|cannot be|can't be|not) (?:opened|read|decoded|open\b)`,
			`(?:error|fail|cannot|can't|could not|unable|No such file|not found|not exist).{0,160}\.(?:mp4|mov|avi|mkv|webm|m4v|mpe?g|wmv|flv)\b`, `\.(?:mp4|mov|avi|mkv|webm|m4v|mpe?g|wmv|flv)\b.{0,80}(?:No such file|not found|not exist|cannot|can't|could not|invalid|corrupt|unsupported|fail|error)`,
		),
		Reason: v1alpha1.ReasonInputInvalid,
	},
	{
		LogPattern: words(
			`Error opening (?:input|video)`, `(?:no|zero|0|empty) frames? (?:found|read|were|in|extracted|could|decoded|to process)`, `Number of frames: 0`, `video (?:is |has )?(?:empty|no frames|corrupt|0 frames|zero)`, `has no frames`, `(?:video|file) (?:is )?(?:corrupt|truncated|damaged)`, `-215:Assertion failed\) ?!?_?(?:ssize|src|img|buf|image|frame)\w*\.empty\(\)`,
			`UnidentifiedImageError|cannot identify image file`, `decord.*(?:error|fail)|DECORDError`, `(?:unsupported|unknown) (?:video )?(?:codec|input format|pixel format|container)`, `Decoder .* not found`, `Error while decoding|error splitting the input`, `(?:unreadable|invalid|unsupported) (?:video|input) (?:file|format|source)`, `truncated (?:image|video|file|png|jpeg)|image file is truncated`, `Premature end of JPEG`, `libpng error`,
		),
		Reason: v1alpha1.ReasonInputInvalid,
	},
}

var renderingRules = []v1alpha1.FailureRule{
	{
		LogPattern: words(
			`\bEGL\w*Error\b`, `\begl[A-Z]\w+`, `EGL_(?:NOT_INITIALIZED|BAD_\w+|FALSE|NO_\w+)`, `(?:unable|fail\w*|cannot|could not) (?:to )?(?:load|initialize|create|open|find|get|make|import)[^.]{0,60}(?:\bE?GL\b|OpenGL|OSMesa|GLX|Vulkan|GLFW|\bdisplay\b|X server|window)`, `Invalid device ID \(\d+\)`,
			`OSMesa\w*.{0,60}(?:not|no|fail|error|missing|attribute|import)`, `(?:no|has no) attribute 'OSMesa`, `NoSuchDisplayException|NoSuchConfigException|ContextException`, `Cannot connect to "(?:None|:\d+)`, `cannot connect to X server|could not connect to display|cannot open display|Can't open display|Unable to open (?:X )?display|couldn't open display|No display|no display name|XOpenDisplay|bad X server connection|no authorization protocol specified`,
		),
		Reason: v1alpha1.ReasonRenderingUnavailable,
	},
	{
		LogPattern: words(
			`qt\.qpa\.|Qt platform plugin`, `\bGLX\w*|\bglX\w+`, `GLFWError|glfw\w* (?:error|failed)|GLFW.{0,40}(?:fail|error|not)`, `\blib(?:E?GL|OSMesa|GLESv?\d?|GLX|GLdispatch|OpenGL|GLU|glut)(?:[-_.][\w.-]*)?\.so\S*`, `\bGLError\b|OpenGL\.error|glGetError`, `attribute 'gl[A-Z]\w+'`, `module 'OpenGL|from 'OpenGL|No module named '?(?:OpenGL|pyrender|pyglet|osmesa|EGL)`,
			`OpenGL.{0,60}(?:not (?:available|supported|found)|fail|required|context)`, `(?:GL|OpenGL|rendering) context.{0,60}(?:fail|not|could|cannot|unable|error)`, `\bGLEW\b.{0,60}(?:fail|error|not)|initializing GLEW`, `VK_ERROR_\w+|vkCreate\w+|vulkan.{0,40}(?:fail|error|not)`, `pyrender.{0,60}(?:error|fail)`, `File "[^"]*(?:pyrender/platforms|OpenGL/(?:platform|raw/EGL))/`, `The function is not implemented\. Rebuild the library with Windows`, `(?:MESA|mesa)[-:].{0,60}(?:fail|error)|failed to load driver: \w+|MESA-LOADER`, `nvidia-drm|/dev/dri/\S+.{0,60}(?:denied|No such|fail)`, `gfx::.*GpuInit|xcb.{0,30}(?:could not|error)`,
		),
		Reason: v1alpha1.ReasonRenderingUnavailable,
	},
}

var imageRules = []v1alpha1.FailureRule{
	{
		LogPattern: words(
			`undefined symbol`, `symbol lookup error|relocation error`, `cannot open shared object file`, `error while loading shared libraries`, `(?:GLIBC|GLIBCXX|CXXABI|GCC|CUDART|OPENSSL|libcu\w+)_?[\d.]* ?'? not found`, `version \S+ not found \(required by`, `wrong ELF class|invalid ELF header|file too short`, `static TLS block`,
			`ModuleNotFoundError`, `No module named`, `\bImportError\b`, `cannot import name`, `DLL load failed`, `exec format error`, `^\s*(?:.*: line \d+:\s+\d+ )?Illegal instruction\b|SIGILL`, `executable file not found`, `command not found`, `(?:entrypoint|exec|runc|container process)\S*:? .*(?:no such file or directory|permission denied)`, `exec: "[^"]+": (?:stat|permission)`,
		),
		Reason: v1alpha1.ReasonImageIncompatible,
	},
	{
		LogPattern: words(
			`numpy\.\w+ size changed`, `compiled (?:against|using) .*(?:API version|NumPy 1)`, `_ARRAY_API not found`, `module '?(?:numpy|np|inspect|collections|torch|torchvision|cv2|PIL\.\w+|scipy|mediapipe|onnxruntime|timm|pkgutil|jax\w*|tensorflow|google\.protobuf\S*)(?:\.[\w.]+)?'? has no attribute`, `has no attribute '(?:_ARRAY_API|getargspec)'`, `Descriptors cannot (?:not )?be created directly`,
			`torchvision::nms|Couldn't load custom C\+\+ ops`, `detected CUDA version .* mismatches`, `CUDA (?:extension|version).{0,60}(?:mismatch|not (?:built|compiled|installed))`, `(?:was|were|is|are) not compiled\b`, `has no attribute '\w*(?:_C|ext)'`, `Could not load (?:dynamic )?library|Unable to load any of \{lib|Invalid handle\. Cannot load symbol`, `\b(?:VersionConflict|DistributionNotFound|ContextualVersionConflict|PackageNotFoundError)\b`, `requires \S+ ?[<>=!~]=?\S+,? but`, `No such operator`, `unsupported (?:python|pickle protocol)`, `Unknown (?:en|de)coder`, `DNN library is not found`, `Ninja is required`, `CUDA_HOME environment variable is not set`, `MMCV==\S+ is used but incompatible`, `no longer supported|was removed in`,
		),
		Reason: v1alpha1.ReasonImageIncompatible,
	},
}

// kubeletRules read the words of a kubelet or a scheduler, in a saved event or
// description.
var kubeletRules = []v1alpha1.FailureRule{
	{
		LogPattern: words(`ImagePullBackOff|ErrImagePull|ErrImageNeverPull|InvalidImageName`, `pull access denied|manifest unknown|failed to pull image|manifest for \S+ not found`, `CreateContainerConfigError`, `(?:secret|configmap) "[^"]+" not found`),
		Reason:     v1alpha1.ReasonPodNotStartable,
	},
	{
		LogPattern: words(`nodes are available: .*(?:Insufficient|didn't match|had untolerated|taint)`, `Insufficient \w+\.com/\w+`),
		Reason:     v1alpha1.ReasonNoCapacity,
	},
}

var computeRules = []v1alpha1.FailureRule{{
	LogPattern: words(
		`illegal memory access`, `device-side assert`, `unspecified launch failure`, `misaligned address`, `illegal instruction was encountered`, `launch timed out and was terminated`, `CUDA (?:error|failure|kernel|driver error|runtime error|exception)`, `cudaError\w+`, `CUDA_ERROR_\w+`, `hipError\w+|HIP error`,
		`(?:CUDNN|CUBLAS|CUSOLVER|CUSPARSE|NVRTC|NPP|HIPBLAS|MIOPEN|miopen)_?(?:STATUS|Status)?_?\w*(?:ERROR|FAIL|NOT_SUPPORTED|BAD_PARAM|INVALID_VALUE|MAPPING_ERROR)\w*`, `\bcu(?:DNN|BLAS|FFT|SOLVER|SPARSE|RAND)\b.{0,30}(?:error|fail)`, `the GPU program failed`, `CUFFT_\w+`, `unable to find an engine to execute this computation`, `NCCL (?:error|failure|WARN Cuda failure)`, `nccl(?:UnhandledCuda|System|Internal|InvalidUsage|Remote)Error`, `cudaSuccess \(\d+ vs\. 0\)`, `an illegal (?:memory|instruction|address)`, `Memory access fault by GPU`, `Assertion .* failed\.?$.*(?:block|thread): \[`, `block: \[\d+,\d+,\d+\], thread: \[`,
	),
	Reason: v1alpha1.ReasonCUDAError,
}}

var networkRules = []v1alpha1.FailureRule{{
	LogPattern: words(
		`Connection (?:refused|reset|timed out|aborted)`, `\b(?:ConnectionError|ConnectTimeout|ReadTimeout(?:Error)?|ConnectionResetError|ConnectionRefusedError|NewConnectionError|MaxRetryError|RemoteDisconnected|ProxyError|SSLError|SSLCertVerificationError|URLError|ClientConnectorError|gaierror|EndpointConnectionError)\b`, `Max retries exceeded`, `(?:Temporary failure in|Name or service not|Could not resolve).{0,20}(?:name resolution|known|host)`, `getaddrinfo (?:failed|EAI_AGAIN|ENOTFOUND)`, `Network is unreachable`, `No route to host`, `urlopen error`, `CERTIFICATE_VERIFY_FAILED`, `HTTP ?Error \d{3}|HTTPError: \d{3}`, `socket\.timeout|timeout: timed out|The (?:read|handshake) operation timed out`, `Failed to connect to \S+ port`, `dial tcp .*`,
	),
	Reason: v1alpha1.ReasonNetworkUnavailable,
}}

// deaths by which a native crash ends a process.
var crashSignals = []string{"SIGSEGV", "SIGBUS", "SIGABRT", "SIGILL", "SIGFPE", "SIGTRAP", "SIGSYS", "SIGKILL"}

var silentRules = []v1alpha1.FailureRule{
	{
		Stages: []string{v1alpha1.StageDetectorLoad}, Signals: crashSignals,
		Reason: v1alpha1.ReasonDetectorLoadCrash,
	},
	{
		Stages: []string{v1alpha1.StageDetectorLoad}, Silent: true,
		Reason: v1alpha1.ReasonDetectorLoadCrash,
	},
	{
		Stages: []string{v1alpha1.StageModelLoad}, Signals: crashSignals,
		Reason: v1alpha1.ReasonModelLoadCrash,
	},
	{
		Stages: []string{v1alpha1.StageModelLoad}, Silent: true,
		Reason: v1alpha1.ReasonModelLoadCrash,
	},
}
