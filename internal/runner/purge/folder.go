package purge

import (
	"fmt"
	"strings"

	"github.com/pose-dev/pose-operator/internal/report"
	"github.com/pose-dev/pose-operator/internal/result"
	"github.com/pose-dev/pose-operator/internal/runner/clean"
	"github.com/pose-dev/pose-operator/internal/storage"
)

// folder is that of one attempt. manifest and owner are the documents in it, nil
// where there are none.
type folder struct {
	id              string
	entries         []storage.Entry
	manifest, owner []byte
}

// verdict on a folder.
type verdict struct {
	remove bool
	// whole says that it has a manifest that can be read.
	whole bool
	// orphan says that nothing but its manifest tells whose it is.
	orphan bool
	// why it is kept, for a person.
	why string
}

// judge says whose a folder is, by a rule which jobs are meant. Pure. An owner's word comes before the manifest's,
// and both before the folder's name: a copied result has the manifest of the job
// that computed it, and two jobs' names for their folders may begin alike.
func judge(f folder, mine func(report.JobRef) bool, prefix string) verdict {
	manifest, merr := result.ReadManifest(f.manifest)
	owner, oerr := result.ReadOwner(f.owner)
	named := prefix != "" && strings.HasPrefix(f.id, prefix)
	v := verdict{whole: merr == nil}
	switch {
	case oerr == nil:
		v.remove = mine(owner.Job)
		v.why = "is the result of job " + name(owner.Job)
	case merr == nil:
		v.remove = mine(manifest.Job)
		v.orphan = v.remove && !named
		v.why = "is the result of job " + name(manifest.Job)
	case named:
		v.remove = true
	case f.manifest != nil:
		v.why = "has a manifest that cannot be read: " + merr.Error()
	default:
		v.why = "has no manifest, and is not named as this job's"
	}
	if v.remove {
		v.why = ""
	}
	return v
}

func name(j report.JobRef) string { return clean.Line(fmt.Sprintf("%s/%s", j.Namespace, j.Name), 320) }

// order gives the keys of a folder as they are removed: its manifest before all
// others, so that nobody finds a manifest without its files, and last the owner, by
// which a removal that broke off is taken up again.
func (f folder) order() (keys []storage.Entry) {
	var last []storage.Entry
	for _, e := range f.entries {
		switch e.Key {
		case f.key(result.ManifestFile):
			keys = append([]storage.Entry{e}, keys...)
		case f.key(result.OwnerFile):
			last = append(last, e)
		default:
			keys = append(keys, e)
		}
	}
	return append(keys, last...)
}

func (f folder) key(path string) string { return result.AttemptsDir + "/" + f.id + "/" + path }

// has says whether a file of that name lies in the folder.
func (f folder) has(path string) bool {
	for _, e := range f.entries {
		if e.Key == f.key(path) {
			return true
		}
	}
	return false
}
