package v1alpha1

// StageRule says which line of the log enters a stage.
type StageRule struct {
	// Name of the stage. DetectorLoad, ModelLoad, Tracking and Writing have a
	// meaning for the built-in failure rules.
	// +kubebuilder:validation:Pattern=`^[A-Z][A-Za-z]*$`
	// +kubebuilder:validation:MaxLength=40
	Name string `json:"name"`
	// Pattern is an RE2 that the line contains.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	// +kubebuilder:validation:XValidation:rule="''.matches(self) in [true, false]",message="pattern must be a valid RE2"
	Pattern string `json:"pattern"`
	// StallTimeoutSeconds for this stage, where spec.stallTimeoutSeconds of a job
	// is too short or too long: loading is silent, tracking is not.
	// +optional
	// +kubebuilder:validation:Minimum=10
	StallTimeoutSeconds int64 `json:"stallTimeoutSeconds,omitempty"`
}

// MemoryEvidence is what is known of a dead engine's memory.
//
// +kubebuilder:validation:Enum=AtLimit;BelowLimit;Unknown
type MemoryEvidence string

// Memory evidence.
const (
	// MemoryAtLimit: the kernel killed for memory, or the peak reached the limit.
	MemoryAtLimit MemoryEvidence = "AtLimit"
	// MemoryBelowLimit: the peak and the limit are known, and it was not reached.
	MemoryBelowLimit MemoryEvidence = "BelowLimit"
	// MemoryUnknown: nobody measured it.
	MemoryUnknown MemoryEvidence = "Unknown"
)

// FailureRule turns evidence of a failed engine into a reason and an action.
// Every condition that is set must hold.
//
// +kubebuilder:validation:XValidation:rule="has(self.stages) || has(self.exitCodes) || has(self.signals) || has(self.logPattern) || has(self.memory)",message="a failure rule needs at least one of stages, exitCodes, signals, logPattern or memory"
type FailureRule struct {
	// Stages in which the engine died.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MaxLength=40
	Stages []string `json:"stages,omitempty"`
	// ExitCodes of the engine.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	ExitCodes []int32 `json:"exitCodes,omitempty"`
	// Signals that ended it, as SIGSEGV.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:Enum=SIGHUP;SIGINT;SIGQUIT;SIGILL;SIGTRAP;SIGABRT;SIGBUS;SIGFPE;SIGKILL;SIGUSR1;SIGSEGV;SIGUSR2;SIGPIPE;SIGALRM;SIGTERM;SIGSTKFLT;SIGCHLD;SIGCONT;SIGSTOP;SIGTSTP;SIGTTIN;SIGTTOU;SIGURG;SIGXCPU;SIGXFSZ;SIGVTALRM;SIGPROF;SIGWINCH;SIGIO;SIGPWR;SIGSYS
	Signals []string `json:"signals,omitempty"`
	// Memory is what is known of its memory.
	// +optional
	Memory MemoryEvidence `json:"memory,omitempty"`
	// Silent asks that the log ends without a Python exception.
	// +optional
	Silent bool `json:"silent,omitempty"`
	// LogPattern is an RE2 that a line of the log's end contains. Lines that are
	// warnings, and lines before an exception that says something else, do not
	// count.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:XValidation:rule="''.matches(self) in [true, false]",message="logPattern must be a valid RE2"
	LogPattern string `json:"logPattern,omitempty"`
	// Reason of the attempt, in CamelCase; its own or one of the operator's.
	// +kubebuilder:validation:Pattern=`^[A-Z][A-Za-z0-9]*$`
	// +kubebuilder:validation:MaxLength=63
	Reason string `json:"reason"`
	// Action that follows.
	Action Action `json:"action"`
	// Explanation for a person: what it means.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	Explanation string `json:"explanation,omitempty"`
	// Remedy for a person: what to do.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	Remedy string `json:"remedy,omitempty"`
}
