package place

import (
	"bufio"
	"io"
	"net/url"
	"os"
	"path"
	"regexp"
	"runtime"
	"strings"

	"github.com/pose-dev/pose-operator/cmd/kubectl-pose/internal/exit"
)

// System is what the path of a file means on.
type System struct {
	// OS as runtime.GOOS names it.
	OS string
	// Distro is the name of this distribution under Windows' Subsystem for Linux;
	// empty elsewhere.
	Distro string
	// Mount is where that has Windows' drives, as "/mnt/".
	Mount string
}

// Here is the system that the plugin runs on.
func Here() System {
	s := System{OS: runtime.GOOS, Distro: os.Getenv("WSL_DISTRO_NAME"), Mount: "/mnt/"}
	if s.OS == "linux" && s.Distro != "" {
		if f, err := os.Open("/etc/wsl.conf"); err == nil {
			defer f.Close()
			s.Mount = automount(io.LimitReader(f, 64<<10), s.Mount)
		}
	}
	return s
}

// automount reads the folder of Windows' drives from wsl.conf.
func automount(conf io.Reader, otherwise string) string {
	section := ""
	for lines := bufio.NewScanner(conf); lines.Scan(); {
		line := strings.TrimSpace(lines.Text())
		if strings.HasPrefix(line, "[") {
			section = strings.Trim(line, "[] ")
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		value = strings.Trim(strings.TrimSpace(value), `"`)
		if ok && section == "automount" && strings.TrimSpace(key) == "root" && strings.HasPrefix(value, "/") {
			return strings.TrimRight(value, "/") + "/"
		}
	}
	return otherwise
}

var (
	drivePath  = regexp.MustCompile(`^([A-Za-z]):[\\/](.*)$`)
	wslPath    = regexp.MustCompile(`^(?i)[\\/]{2}wsl(?:\$|\.localhost)[\\/]([^\\/]+)(?:[\\/](.*))?$`)
	serverPath = regexp.MustCompile(`^\\\\[^\\/]+[\\/]`)
	anyScheme  = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9+.-]+://`)
)

// Local says what a person means who names a video: a URI as it is, or a file of this
// system, for which paths of Windows and of its Subsystem for Linux are translated where
// that file can be reached.
func (s System) Local(arg string) (name string, local bool, err error) {
	switch {
	case arg == "":
		return "", false, exit.Usagef("a video without a name")
	case strings.HasPrefix(strings.ToLower(arg), "file://"):
		if arg, err = s.fileURL(arg); err != nil {
			return "", true, err
		}
	case anyScheme.MatchString(arg) && drivePath.FindString(arg) == "":
		return arg, false, nil
	}
	if s.OS == "windows" {
		return s.onWindows(arg), true, nil
	}
	name, err = s.onUnix(arg)
	return name, true, err
}

// onUnix translates paths of Windows.
func (s System) onUnix(arg string) (string, error) {
	wsl := s.OS == "linux" && s.Distro != ""
	if m := drivePath.FindStringSubmatch(arg); m != nil {
		if !wsl {
			return "", exit.Usagef("%s is a path of Windows, and this is %s: copy the file here and name it, or run the command on Windows or in its Subsystem for Linux", arg, s.OS)
		}
		return path.Join(s.Mount, strings.ToLower(m[1]), slashes(m[2])), nil
	}
	if m := wslPath.FindStringSubmatch(arg); m != nil {
		switch {
		case !wsl:
			return "", exit.Usagef("%s is a path into a distribution of Windows' Subsystem for Linux, and this is none: copy the file here and name it", arg)
		case !strings.EqualFold(m[1], s.Distro):
			return "", exit.Usagef("%s lies in the distribution %s, and this is %s: run the command there, or copy the file to a drive of Windows, which both see below %s", arg, m[1], s.Distro, s.Mount)
		}
		return "/" + slashes(m[2]), nil
	}
	if serverPath.MatchString(arg) {
		return "", exit.Usagef("%s is a share that only Windows reaches by that name: mount it here and name the file there, or run the command on Windows", arg)
	}
	return arg, nil
}

var mounted = regexp.MustCompile(`^/(?:mnt|cygdrive)/([A-Za-z])(?:/(.*))?$`)

// onWindows translates paths of the Subsystem for Linux and of Cygwin to those of
// drives. \\wsl$\... is a share that Windows itself has.
func (s System) onWindows(arg string) string {
	if m := mounted.FindStringSubmatch(arg); m != nil {
		return strings.ToUpper(m[1]) + `:\` + strings.ReplaceAll(m[2], "/", `\`)
	}
	if m := wslPath.FindStringSubmatch(arg); m != nil {
		return strings.ReplaceAll(arg, "/", `\`)
	}
	return arg
}

// fileURL is the path of file:///home/x/v.mp4 or file:///C:/Users/x/v.mp4.
func (s System) fileURL(arg string) (string, error) {
	u, err := url.Parse(arg)
	if err != nil || u.Host != "" && u.Host != "localhost" || u.RawQuery != "" || u.Fragment != "" || u.Path == "" {
		return "", exit.Usagef("%s is no URL of a file on this machine: write file:///path, or the path alone", arg)
	}
	if trimmed := strings.TrimPrefix(u.Path, "/"); drivePath.MatchString(trimmed) {
		return trimmed, nil
	}
	return u.Path, nil
}

func slashes(s string) string { return strings.ReplaceAll(s, `\`, "/") }
