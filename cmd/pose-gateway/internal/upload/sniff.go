package upload

import "bytes"

// sniffBytes are enough to know a video's container by.
const sniffBytes = 512

// Extensions that the service knows, for file choosers.
var Extensions = []string{".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".ts", ".m2ts", ".mpg", ".mpeg", ".flv", ".wmv", ".ogv"}

// Sniff gives the container of a video by its first bytes, as its usual ending; "" for
// what is none that is known. It decodes nothing: ffprobe does, in a pod without
// credentials. The name that a client gives says nothing.
func Sniff(b []byte) string {
	at := func(offset int, magic string) bool {
		return len(b) >= offset+len(magic) && string(b[offset:offset+len(magic)]) == magic
	}
	switch {
	case at(4, "ftyp"):
		if at(8, "qt  ") {
			return ".mov"
		}
		return ".mp4"
	case at(4, "moov"), at(4, "mdat"), at(4, "wide"), at(4, "free"), at(4, "skip"), at(4, "pnot"):
		return ".mov" // QuickTime from before ftyp
	case at(0, "\x1a\x45\xdf\xa3"):
		if bytes.Contains(b[:min(len(b), 64)], []byte("webm")) {
			return ".webm"
		}
		return ".mkv"
	case at(0, "RIFF") && at(8, "AVI "):
		return ".avi"
	case at(0, "\x00\x00\x01\xba"), at(0, "\x00\x00\x01\xb3"):
		return ".mpg"
	case at(0, "\x47") && at(188, "\x47") && at(376, "\x47"):
		return ".ts"
	case at(4, "\x47") && at(196, "\x47") && at(388, "\x47"):
		return ".m2ts"
	case at(0, "FLV\x01"):
		return ".flv"
	case at(0, "\x30\x26\xb2\x75\x8e\x66\xcf\x11"):
		return ".wmv"
	case at(0, "OggS"):
		return ".ogv"
	}
	return ""
}
