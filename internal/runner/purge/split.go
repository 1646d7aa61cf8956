package purge

import (
	"net/url"
	"strings"
)

// split gives the folder that an object lies in and its name there, or why nothing
// can be removed at such a place.
func split(uri string) (parent, key, why string) {
	scheme, _, _ := strings.Cut(uri, "://")
	switch scheme {
	case "s3", "gs", "azblob", "pvc":
	case "http", "https":
		return "", "", "a web server does not let files be removed: remove it where it was uploaded"
	case "oci":
		return "", "", "it is a part of an image: remove the image from its registry"
	default:
		return "", "", "nothing can be removed from a place of this kind"
	}
	at := strings.LastIndexByte(uri, '/')
	key, err := url.PathUnescape(uri[at+1:])
	if err != nil || key == "" || strings.Contains(key, "/") || at < len(scheme)+len("://") {
		return "", "", "the URI names no file"
	}
	return uri[:at], key, ""
}
