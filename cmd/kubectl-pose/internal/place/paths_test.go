package place

import (
	"strings"
	"testing"

	"github.com/pose-dev/pose-operator/cmd/kubectl-pose/internal/exit"
)

func TestLocal(t *testing.T) {
	linux := System{OS: "linux", Mount: "/mnt/"}
	wsl := System{OS: "linux", Distro: "Ubuntu", Mount: "/mnt/"}
	moved := System{OS: "linux", Distro: "Ubuntu", Mount: "/win/"}
	windows := System{OS: "windows", Mount: "/mnt/"}
	for name, c := range map[string]struct {
		on        System
		arg, want string
		local     bool
		refused   string
	}{
		"a URI":                           {linux, "s3://v/a.mp4", "s3://v/a.mp4", false, ""},
		"a URI of an image":               {windows, "oci://r/x@sha256:0//a.mp4", "oci://r/x@sha256:0//a.mp4", false, ""},
		"a file":                          {linux, "./a b.mp4", "./a b.mp4", true, ""},
		"a file URL":                      {linux, "file:///home/x/a%20b.mp4", "/home/x/a b.mp4", true, ""},
		"a file URL of Windows":           {windows, "file:///C:/Users/x/a.mp4", "C:/Users/x/a.mp4", true, ""},
		"that in WSL":                     {wsl, "file:///C:/Users/x/a.mp4", "/mnt/c/Users/x/a.mp4", true, ""},
		"a file URL of another machine":   {linux, "file://server/a.mp4", "", true, "no URL of a file on this machine"},
		"a drive in WSL":                  {wsl, `C:\Users\Ümit x\a b.mp4`, "/mnt/c/Users/Ümit x/a b.mp4", true, ""},
		"a drive with slashes":            {wsl, "d:/clips/a.mp4", "/mnt/d/clips/a.mp4", true, ""},
		"a drive that tries to climb":     {wsl, `C:\..\..\etc\passwd`, "/etc/passwd", true, ""},
		"a drive mounted elsewhere":       {moved, `E:\a.mp4`, "/win/e/a.mp4", true, ""},
		"a drive on Linux":                {linux, `C:\a.mp4`, "", true, "is a path of Windows, and this is linux"},
		"a drive on a Mac":                {System{OS: "darwin"}, `C:\a.mp4`, "", true, "this is darwin"},
		"a drive on Windows":              {windows, `C:\Users\x\a.mp4`, `C:\Users\x\a.mp4`, true, ""},
		"a name with a colon":             {linux, "a:b.mp4", "a:b.mp4", true, ""},
		"its own distribution":            {wsl, `\\wsl$\ubuntu\home\x\a.mp4`, "/home/x/a.mp4", true, ""},
		"by its newer name":               {wsl, `\\wsl.localhost\Ubuntu\home\x\a.mp4`, "/home/x/a.mp4", true, ""},
		"with slashes, as shells have it": {wsl, "//wsl$/Ubuntu/home/x/a.mp4", "/home/x/a.mp4", true, ""},
		"another distribution":            {wsl, `\\wsl$\Debian\a.mp4`, "", true, "lies in the distribution Debian, and this is Ubuntu"},
		"a distribution without WSL":      {linux, `\\wsl$\Debian\a.mp4`, "", true, "this is none"},
		"a distribution on Windows":       {windows, `\\wsl$\Debian\a.mp4`, `\\wsl$\Debian\a.mp4`, true, ""},
		"that with slashes":               {windows, "//wsl$/Debian/a.mp4", `\\wsl$\Debian\a.mp4`, true, ""},
		"a share":                         {wsl, `\\server\share\a.mp4`, "", true, "only Windows reaches"},
		"a share on Windows":              {windows, `\\server\share\a.mp4`, `\\server\share\a.mp4`, true, ""},
		"a mounted drive on Windows":      {windows, "/mnt/c/Users/x/a.mp4", `C:\Users\x\a.mp4`, true, ""},
		"one of Cygwin":                   {windows, "/cygdrive/d/a.mp4", `D:\a.mp4`, true, ""},
		"a mounted drive on Linux":        {linux, "/mnt/c/a.mp4", "/mnt/c/a.mp4", true, ""},
		"nothing":                         {linux, "", "", false, "without a name"},
	} {
		got, local, err := c.on.Local(c.arg)
		if got != c.want || local != c.local || (err != nil) != (c.refused != "") || err != nil && (!strings.Contains(err.Error(), c.refused) || exit.Code(err) != exit.Usage) {
			t.Errorf("%s: %q, local %v, %v", name, got, local, err)
		}
	}
}

func TestAutomount(t *testing.T) {
	for conf, want := range map[string]string{
		"": "/mnt/", "[automount]\nroot = /win\n": "/win/", "[network]\nroot=/x\n[automount]\n# root = /y\nroot=\"/w/\"": "/w/", "[automount]\nroot = relative": "/mnt/", "[automount]\nroot=/": "/",
	} {
		if got := automount(strings.NewReader(conf), "/mnt/"); got != want {
			t.Errorf("%q: %q", conf, got)
		}
	}
}

func TestSafeName(t *testing.T) {
	for in, want := range map[string]string{
		"a.mp4": "a.mp4", "Été 1?.mov": "_t__1_.mov", "..": "video", ".hidden.mp4": "hidden.mp4", `C:\x\y.mp4`: "y.mp4", "a/b.mp4": "b.mp4", "\x1b[2J.mp4": "__2J.mp4", strings.Repeat("x", 200) + ".mp4": strings.Repeat("x", 96) + ".mp4", "": "video",
	} {
		if got := SafeName(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}
