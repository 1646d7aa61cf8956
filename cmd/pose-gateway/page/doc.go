// Package page holds the page of the gateway: TypeScript in src, which Vite builds
// into dist, and which the build tag `page` embeds. Without the tag no Node.js is
// needed, and the program serves its API alone.
package page
