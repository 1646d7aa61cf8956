package place

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/pose-dev/pose-operator/cmd/kubectl-pose/internal/exit"
	"github.com/pose-dev/pose-operator/internal/report"
	"github.com/pose-dev/pose-operator/internal/result"
	"github.com/pose-dev/pose-operator/internal/storage"
	"github.com/pose-dev/pose-operator/internal/verify"
)

// maxCA bounds a file of certificates, in bytes.
const maxCA = 1 << 20

// Flags are how a person's own machine reaches a  Of a cluster's pods the
// platform admin says it.
type Flags struct {
	store          report.StoreConfig
	ca             string
	credentialsDir string
	credentialsEnv bool
}

// Add the flags to a command.
func (f *Flags) Add(p *pflag.FlagSet) {
	p.StringVar(&f.store.S3Endpoint, "s3-endpoint", "", "base URL of an S3-compatible server; AWS if unset")
	p.StringVar(&f.store.S3Region, "region", "", "region of an s3:// URI; that of the environment with --credentials-from-env, else us-east-1, if unset")
	p.BoolVar(&f.store.S3PathStyle, "path-style", false, "address buckets of an s3:// URI as endpoint/bucket")
	p.StringVar(&f.store.GCSEndpoint, "gcs-endpoint", "", "base URL of a server that speaks Google Cloud Storage's JSON API; Google's own if unset")
	p.StringVar(&f.store.AzureAccount, "azure-account", "", "storage account of an azblob:// URI; that of the environment with --credentials-from-env if unset")
	p.StringVar(&f.store.AzureEndpoint, "azure-endpoint", "", "base URL of the blob service; the account's own at Azure if unset")
	p.StringVar(&f.ca, "ca-file", "", "file of certificates, as PEM, that are trusted beside the system's")
	p.StringVar(&f.credentialsDir, "credentials-dir", "", "folder with one file for each key of a job's Secret, as AWS_ACCESS_KEY_ID or credentials.json")
	p.BoolVar(&f.credentialsEnv, "credentials-from-env", false, "use the credentials of the environment: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, GOOGLE_APPLICATION_CREDENTIALS, or AZURE_STORAGE_KEY or AZURE_STORAGE_SAS_TOKEN")
}

// Default takes the platform admin's endpoints where the person names none.
func (f *Flags) Default(store report.StoreConfig) {
	if f.store.S3Endpoint == "" && f.store.GCSEndpoint == "" && f.store.AzureEndpoint == "" && f.store.AzureAccount == "" {
		region, style := f.store.S3Region, f.store.S3PathStyle
		f.store = store
		f.store.WorkloadIdentity = false // that of a pod
		f.store.S3Region, f.store.S3PathStyle = cmp.Or(region, store.S3Region), style || store.S3PathStyle
	}
}

// UseCredentials of a folder with one file for each key of a Secret.
func (f *Flags) UseCredentials(dir string) { f.credentialsDir, f.credentialsEnv = dir, false }

// Options of storage, for the scheme of a place. clear removes what was made for them.
func (f *Flags) Options(scheme string) (o storage.Options, clear func(), err error) {
	clear = func() {}
	if f.credentialsDir != "" && f.credentialsEnv {
		return o, clear, exit.Usagef("credentials come either from --credentials-dir or from the environment: leave one out")
	}
	o = storage.Options{Store: f.store, CredentialsDir: f.credentialsDir}
	pem, err := readCA(f.ca)
	if err != nil {
		return o, clear, err
	}
	o.Store.CAPEM += pem
	if f.credentialsDir != "" {
		if info, err := os.Stat(f.credentialsDir); err != nil || !info.IsDir() {
			return o, clear, exit.Usagef("--credentials-dir %s is no folder that can be read", f.credentialsDir)
		}
	}
	if f.credentialsEnv {
		clear, err = fromEnvironment(scheme, &o)
	}
	return o, clear, err
}

// Open the place that a person names: a URI, or a folder of this machine. end frees
// what it took.
func (f *Flags) Open(what string) (store verify.Store, end func(), err error) {
	scheme, _, uri := strings.Cut(what, "://")
	switch {
	case !uri:
		store, err = localFolder(what)
		return store, func() {}, err
	case scheme == "pvc":
		return nil, nil, fmt.Errorf("%s is a claim, which only pods of its cluster can read: use its job's name, as `kubectl pose results NAME --download DIR`, or job/NAME with export and verify", what)
	}
	o, clear, err := f.Options(scheme)
	if err != nil {
		return nil, nil, err
	}
	sink, err := storage.OpenSink(what, o)
	if err != nil {
		clear()
		return nil, nil, fmt.Errorf("open the place: %w", err)
	}
	return sink, func() {
		_ = sink.Close() // it was only read
		clear()
	}, nil
}

func readCA(file string) (string, error) {
	if file == "" {
		return "", nil
	}
	f, err := os.Open(file) //nolint:gosec // the person's own file
	if err != nil {
		return "", fmt.Errorf("--ca-file: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxCA+1))
	if err != nil {
		return "", fmt.Errorf("--ca-file: %w", err)
	}
	if len(b) > maxCA {
		return "", fmt.Errorf("--ca-file %s has more than %d bytes: it is no file of certificates", file, maxCA)
	}
	return string(b), nil
}

// environment has the usual variables of each scheme that are keys of a job's Secret.
var environment = map[string][]string{
	"s3":     {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"},
	"azblob": {"AZURE_STORAGE_KEY", "AZURE_STORAGE_SAS_TOKEN"},
}

// googleCredentials names a file, which is a key of a job's Secret under another name.
const (
	googleCredentials = "GOOGLE_APPLICATION_CREDENTIALS" //nolint:gosec // the name of a variable
	googleKey         = "credentials.json"
)

// fromEnvironment puts the environment's credentials where a pod would find those of
// its Secret: into a folder for this process alone, which clear removes.
func fromEnvironment(scheme string, o *storage.Options) (clear func(), err error) {
	files := map[string]string{}
	for _, name := range environment[scheme] {
		if v := os.Getenv(name); v != "" {
			files[name] = v
		}
	}
	switch scheme {
	case "s3":
		o.Store.S3Region = cmp.Or(o.Store.S3Region, os.Getenv("AWS_REGION"), os.Getenv("AWS_DEFAULT_REGION"))
	case "azblob":
		o.Store.AzureAccount = cmp.Or(o.Store.AzureAccount, os.Getenv("AZURE_STORAGE_ACCOUNT"))
	case "gs":
		if name := os.Getenv(googleCredentials); name != "" {
			b, err := os.ReadFile(name) //nolint:gosec // the person's own file
			if err != nil {
				return func() {}, fmt.Errorf("read the file that %s names: %w", googleCredentials, err)
			}
			files[googleKey] = string(b)
		}
	}
	if len(files) == 0 {
		return func() {}, exit.Usagef("the environment has no credentials for %s://: set %s, or leave --credentials-from-env out", scheme, strings.Join(append(environment[scheme], map[string][]string{"gs": {googleCredentials}}[scheme]...), ", "))
	}
	dir, err := os.MkdirTemp("", "kubectl-pose-")
	if err != nil {
		return func() {}, fmt.Errorf("make a folder for the credentials: %w", err)
	}
	clear = func() { _ = os.RemoveAll(dir) }
	for name, v := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(v), 0o600); err != nil {
			clear()
			return func() {}, fmt.Errorf("keep the credentials: %w", err)
		}
	}
	o.CredentialsDir = dir
	return clear, nil
}

// localFolder of an argument that is no URI: a folder, or the folder of a file of a
// result.
func localFolder(what string) (verify.Folder, error) {
	info, err := os.Stat(what)
	if err != nil {
		return "", exit.With(exit.NotFound, fmt.Errorf("find the result: %w", err))
	}
	if !info.IsDir() {
		if base := filepath.Base(what); base != result.ManifestFile && base != "pose.json" {
			return "", exit.Usagef("%s is neither a folder nor a %s", what, result.ManifestFile)
		}
		what = filepath.Dir(what)
	}
	return verify.Folder(what), nil
}

// CA is what --ca-file holds, as PEM; empty if unset.
func (f *Flags) CA() (string, error) { return readCA(f.ca) }

// Chosen says whether the person said which credentials to use.
func (f *Flags) Chosen() bool { return f.credentialsDir != "" || f.credentialsEnv }

// FromEnvironmentIfSet uses the environment's credentials for a scheme where it has
// some: nobody uploads without any.
func (f *Flags) FromEnvironmentIfSet(scheme string) {
	for _, name := range slices.Concat(environment[scheme], map[string][]string{"gs": {googleCredentials}}[scheme]) {
		f.credentialsEnv = f.credentialsEnv || os.Getenv(name) != ""
	}
}

// Size of a video on this machine, in bytes.
func Size(path string) (int64, error) {
	f, size, err := openVideo(path)
	if err != nil {
		return 0, err
	}
	return size, f.Close() //nolint:wrapcheck // of a file that was only opened
}
