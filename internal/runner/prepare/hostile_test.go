package prepare_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/pose-dev/pose-operator/internal/report"
	"github.com/pose-dev/pose-operator/internal/runner/outcome"
)

// patch changes 32-bit numbers of a file at offsets from a box's name.
func patch(t *testing.T, path, box string, values map[int]uint32) {
	t.Helper()
	raw, err := os.ReadFile(path)
	at := bytes.Index(raw, []byte(box))
	if err != nil || at < 0 {
		t.Fatalf("no box %s: %v", box, err)
	}
	for offset, v := range values {
		binary.BigEndian.PutUint32(raw[at+offset:], v)
	}
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestHostileVideos: each ends as InputInvalid, with words that help, without a
// frame, and without having read anything else.
func TestHostileVideos(t *testing.T) {
	t.Parallel()
	const secret = "the secret of another file"
	hidden := filepath.Join(t.TempDir(), "secret.txt")
	// Nobody may come here.
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil || os.WriteFile(hidden, []byte(secret), 0o600) != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	came := make(chan string, 100)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			came <- c.RemoteAddr().String()
			c.Close()
		}
	}()
	url := "http://" + l.Addr().String() + "/x.ts"

	text := func(content string) func(*testing.T, string) {
		return func(t *testing.T, path string) {
			if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	video := func(args ...string) func(*testing.T, string) {
		return func(t *testing.T, path string) {
			ffmpeg(t, slices.Concat([]string{"-f", "lavfi", "-i", "testsrc2=size=320x240:rate=25:duration=1"}, args, []string{path})...)
		}
	}
	small := func(t *testing.T, path string) { video("-c:v", "libx264", "-f", "mp4")(t, path) }
	join := func(parts ...[]string) func(*testing.T, string) {
		return func(t *testing.T, path string) {
			var all []byte
			for i, args := range parts {
				part := filepath.Join(t.TempDir(), fmt.Sprintf("%d.bin", i))
				ffmpeg(t, append(args, part)...)
				b, err := os.ReadFile(part)
				if err != nil {
					t.Fatal(err)
				}
				all = append(all, b...)
			}
			if err := os.WriteFile(path, all, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	raw := func(size string, frames string) []string {
		return []string{"-f", "lavfi", "-i", "color=size=" + size + ":rate=25", "-frames:v", frames, "-c:v", "libx264", "-preset", "ultrafast", "-f", "h264"}
	}
	for _, tc := range []struct {
		name string
		make func(*testing.T, string)
		cfg  func(*report.PrepareConfig)
		want string
	}{
		{"a header of 65535x65535 that the frames do not bear out", func(t *testing.T, path string) {
			small(t, path)
			// The sample description's 16 bits, and the track header's 16.16.
			patch(t, path, "avc1\x00\x00", map[int]uint32{28: 0xffffffff})
			patch(t, path, "tkhd", map[int]uint32{80: 0xffffffff, 84: 0xffffffff})
		}, nil, ""},
		{"a header of 100000x100000", func(t *testing.T, path string) {
			video("-c:v", "huffyuv", "-f", "avi")(t, path)
			// biWidth and biHeight, little endian.
			patch(t, path, "strf", map[int]uint32{12: 0xa0860100, 16: 0xa0860100})
		}, nil, "pixels, the operator accepts"},
		{"frames of 8000x4000 in 20 kB", func(t *testing.T, path string) {
			ffmpeg(t, "-f", "lavfi", "-i", "color=size=8000x4000", "-frames:v", "1", "-c:v", "libx264", "-preset", "ultrafast", "-f", "mp4", path)
		}, nil, "8000x4000 = 32000000 pixels, the operator accepts"},
		{"frames that fit the operator and not the memory", func(t *testing.T, path string) {
			ffmpeg(t, "-f", "lavfi", "-i", "color=size=9600x9600", "-frames:v", "2", "-pix_fmt", "yuvj420p", "-c:v", "mjpeg", "-f", "avi", path)
		}, func(c *report.PrepareConfig) { c.MaxPixels = 1 << 40 }, "of memory for this video"},
		{"a size that explodes on the way", join(raw("64x64", "30"), raw("4096x4096", "3")), nil, "more pixels than the operator accepts"},
		{"a size that changes on the way", join(raw("64x64", "30"), raw("128x96", "3")), nil, "changes at frame 30"},
		{"100000 tiny frames", func(t *testing.T, path string) {
			ffmpeg(t, "-f", "lavfi", "-i", "color=size=16x16:rate=1000", "-frames:v", "100000", "-c:v", "mpeg4", "-g", "600", "-f", "matroska", path)
		}, nil, "more than 1000 frames"},
		{"an index of 300 million frames in 10 kB", func(t *testing.T, path string) {
			small(t, path)
			patch(t, path, "stsz", map[int]uint32{8: 16, 12: 300_000_000})
		}, nil, ""},
		{"a stream without end", func(t *testing.T, path string) {
			small(t, path)
			patch(t, path, "stts", map[int]uint32{12: 0xffffffff, 16: 0})
		}, func(c *report.PrepareConfig) { c.MaxFrames = 10 }, "more than 10 frames"},

		{"an HLS playlist", text("#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n" + url + "\n#EXTINF:10,\nfile://" + hidden + "\n#EXT-X-ENDLIST\n"), nil, "not a video"},
		{"an HLS playlist of data", text("#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\ndata:video/mp2t;base64,R0BAEAAC\n#EXT-X-ENDLIST\n"), nil, "not a video"},
		{"a DASH manifest", text(`<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><Period><AdaptationSet><Representation id="1" mimeType="video/mp4"><BaseURL>` + url + `</BaseURL></Representation></AdaptationSet></Period></MPD>`), nil, "not a video"},
		{"a concat script", text("ffconcat version 1.0\nfile '" + hidden + "'\nfile '" + url + "'\n"), nil, "not a video"},
		{"an SDP session", text("v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n"), nil, "not a video"},
		{"a QuickTime redirect", text("RTSPtext\r\n" + url + "\r\n"), nil, "not a video"},
		{"ASF with a reference", text("[Reference]\r\nRef1=" + url + "\r\n"), nil, "not a video"},
		{"subtitles", text("1\n00:00:00,000 --> 00:00:10,000\n" + url + "\n"), nil, "not a video"},
		{"an SVG picture that names a file", text(`<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="64" height="64"><image xlink:href="` + hidden + `" width="64" height="64"/><image xlink:href="` + url + `" width="6" height="6"/></svg>`), nil, "not a video"},
		{"a filter script", text("movie=" + hidden + "[out0]\n"), nil, "not a video"},
		{"a PNG picture", video("-frames:v", "1", "-c:v", "png", "-f", "image2"), nil, "not a video"},
		{"a GIF without end", video("-loop", "0", "-f", "gif"), nil, "not a video"},
		{"raw frames", video("-f", "yuv4mpegpipe", "-pix_fmt", "yuv420p"), nil, "not a video"},
		{"a video in PNG frames", video("-c:v", "png", "-f", "mov"), nil, "codec is png, which is not accepted"},
		{"a video of a codec that nobody uses", video("-c:v", "snow", "-strict", "-2", "-f", "avi"), nil, "codec is snow, which is not accepted"},
		{"QuickTime with its data in another file", func(t *testing.T, path string) {
			small(t, path)
			// The data reference is no more to the file itself.
			patch(t, path, "url \x00\x00\x00\x01", map[int]uint32{4: 0})
		}, nil, ""},
		{"AVI with a playlist for subtitles", func(t *testing.T, path string) {
			video("-c:v", "mpeg4", "-f", "avi")(t, path)
			smuggle(t, path, "#EXTM3U\n#EXT-X-MEDIA-SEQUENCE:0\n#EXTINF:10,\n"+url+"\n#EXTINF:1,\nfile://"+hidden+"\n#EXT-X-ENDLIST\n")
		}, nil, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "video.mp4")
			tc.make(t, path)
			cfg := config()
			if tc.cfg != nil {
				tc.cfg(&cfg)
			}
			_, l, err := run(t, path, cfg)
			if tc.want == "" && err == nil {
				return // what cannot harm may pass
			}
			var f *outcome.Failure
			if !errors.As(err, &f) || f.Reason != report.ReasonInputInvalid || !strings.Contains(f.Message, tc.want) || strings.Contains(f.Message, secret) {
				t.Fatalf("%v, want %q", err, tc.want)
			}
			if _, err := os.Stat(l.VideoFile); err == nil {
				t.Error("a video was left")
			}
		})
	}
	t.Cleanup(func() {
		select {
		case from := <-came:
			t.Errorf("somebody came over the network: %s", from)
		default:
		}
	})
}

// smuggle appends a text to an AVI file's headers as a stream of subtitles of
// the kind GAB2, which ffmpeg opens as a file of its own.
func smuggle(t *testing.T, path, playlist string) {
	t.Helper()
	raw, err := os.ReadFile(path)
	at := bytes.Index(raw, []byte("LIST"))
	if err != nil || at < 0 || string(raw[at+8:at+12]) != "hdrl" {
		t.Fatalf("no headers: %v", err)
	}
	chunk := func(name string, body []byte) []byte {
		out := binary.LittleEndian.AppendUint32([]byte(name), uint32(len(body)))
		out = append(out, body...)
		if len(body)%2 != 0 {
			out = append(out, 0)
		}
		return out
	}
	strh := append([]byte("txts\x00\x00\x00\x00"), make([]byte, 48)...)
	binary.LittleEndian.PutUint32(strh[20:], 1)
	binary.LittleEndian.PutUint32(strh[24:], 25)
	binary.LittleEndian.PutUint32(strh[32:], 1)
	strl := chunk("LIST", slices.Concat([]byte("strl"), chunk("strh", strh), chunk("strf", nil)))
	gab2 := slices.Concat([]byte("GAB2\x00\x02\x00\x00\x00\x00\x00\x04\x00"), binary.LittleEndian.AppendUint32(nil, uint32(len(playlist))), []byte(playlist))
	end := at + 8 + int(binary.LittleEndian.Uint32(raw[at+4:]))
	binary.LittleEndian.PutUint32(raw[at+4:], binary.LittleEndian.Uint32(raw[at+4:])+uint32(len(strl)))
	// avih: one stream more.
	avih := bytes.Index(raw, []byte("avih"))
	binary.LittleEndian.PutUint32(raw[avih+8+24:], 2)
	raw = slices.Concat(raw[:end], strl, raw[end:])
	movi := bytes.Index(raw, []byte("movi"))
	text := chunk("01tx", gab2)
	binary.LittleEndian.PutUint32(raw[movi-4:], binary.LittleEndian.Uint32(raw[movi-4:])+uint32(len(text)))
	raw = slices.Concat(raw[:movi+4], text, raw[movi+4:])
	binary.LittleEndian.PutUint32(raw[4:], uint32(len(raw)-8))
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		t.Fatal(err)
	}
}
