// Package layout says where the files of a pod lie. In a pod they are where the
// contract fixes them; tests put the same tree below a folder of their own.
package layout

import (
	"path/filepath"
	"strconv"

	"github.com/pose-dev/pose-operator/internal/report"
	"github.com/pose-dev/pose-operator/internal/result"
)

// TerminationLog is Kubernetes' default path of the termination message.
const TerminationLog = "/dev/termination-log"

// Layout holds the paths that a role reads and writes.
type Layout struct {
	RunnerBinary      string
	AdapterSource     string
	AdapterDir        string
	InputDir          string
	SourceFile        string
	SourceFacts       string
	BoxesSource       string
	VideoFile         string
	FactsFile         string
	BoxesFile         string
	OutputDir         string
	SocketFile        string
	EngineFile        string
	Diagnostics       string
	CredentialsDir    string
	BoxesCredentials  string
	OutputCredentials string
	ProgressToken     string
	BatchDir          string
	ScratchDir        string
	Termination       string
}

// Pod is the layout that the contract fixes.
func Pod() Layout {
	return Layout{
		RunnerBinary:      report.RunnerBinary,
		AdapterSource:     report.AdapterSourceDir,
		AdapterDir:        report.AdapterDir,
		InputDir:          report.InputDir,
		SourceFile:        report.SourceFile,
		SourceFacts:       report.SourceFactsFile,
		BoxesSource:       report.BoxesSourceFile,
		VideoFile:         report.VideoFile,
		FactsFile:         report.FactsFile,
		BoxesFile:         report.BoxesFile,
		OutputDir:         report.OutputDir,
		SocketFile:        report.SocketFile,
		EngineFile:        report.EngineFile,
		Diagnostics:       report.DiagnosticsFile,
		CredentialsDir:    report.CredentialsDir,
		BoxesCredentials:  report.BoxesCredentialsDir,
		OutputCredentials: report.OutputCredentialsDir,
		ProgressToken:     report.ProgressTokenFile,
		BatchDir:          report.BatchDir,
		ScratchDir:        report.ScratchDir,
		Termination:       TerminationLog,
	}
}

// Under is the pod's layout moved below root.
func Under(root string) Layout {
	l := Pod()
	for _, p := range []*string{
		&l.RunnerBinary, &l.AdapterSource, &l.AdapterDir, &l.InputDir, &l.SourceFile, &l.SourceFacts, &l.BoxesSource,
		&l.VideoFile, &l.FactsFile, &l.BoxesFile, &l.OutputDir, &l.SocketFile, &l.EngineFile, &l.Diagnostics,
		&l.CredentialsDir, &l.BoxesCredentials, &l.OutputCredentials, &l.ProgressToken, &l.BatchDir, &l.ScratchDir, &l.Termination,
	} {
		*p = filepath.Join(root, *p)
	}
	return l
}

// FrameTimes is the file that prepare leaves for deliver, where the rate of the source
// varies; it lies beside the facts.
func (l Layout) FrameTimes() string {
	return filepath.Join(filepath.Dir(l.FactsFile), result.FrameTimesFile)
}

// Clip is the layout of one clip in a pod of many: the files that the containers
// give each other lie in folders of its number.
func (l Layout) Clip(number int32) Layout {
	name := strconv.Itoa(int(number))
	for _, p := range []*string{&l.SourceFile, &l.SourceFacts, &l.BoxesSource, &l.VideoFile, &l.FactsFile, &l.BoxesFile} {
		*p = filepath.Join(filepath.Dir(*p), name, filepath.Base(*p))
	}
	l.OutputDir = filepath.Join(l.OutputDir, name)
	return l
}
