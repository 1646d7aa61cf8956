package prepare

import (
	"encoding/json"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"

	"github.com/pose-dev/pose-operator/internal/runner/clean"
)

// demuxers that a source may be read with. Playlists (hls, concat, dash) are
// left out: they make ffmpeg open other files. So are image sequences, devices
// and raw formats, which take anything for a video.
const demuxers = "mov,mp4,m4a,3gp,3g2,mj2,avi,matroska,webm,mpegts,mpeg,mpegvideo,flv,asf,ogg,mxf,ivf,h264,hevc"

// inputGuard must stand before every input.
var inputGuard = []string{"-protocol_whitelist", "file", "-format_whitelist", demuxers}

// stream is what ffprobe's headers say of the first video stream.
type stream struct {
	Container string
	Codec     string
	PixFmt    string
	Width     int64
	Height    int64
	Rotation  int // degrees, a multiple of 90 in [0, 360)
	Rate      rational
	TimeBase  rational
	// Promised is the number of frames in the container's index, 0 if it has none.
	Promised int64
	// Other says that the file holds more than this one stream.
	Other bool
}

// rational is a fraction as ffprobe prints it.
type rational struct{ Num, Den int64 }

func (r rational) valid() bool     { return r.Num > 0 && r.Den > 0 }
func (r rational) float() float64  { return float64(r.Num) / float64(r.Den) }
func (r rational) String() string  { return fmt.Sprintf("%d/%d", r.Num, r.Den) }
func (r rational) inverse() string { return fmt.Sprintf("%d/%d", r.Den, r.Num) }

func parseRational(s string) rational {
	a, b, ok := strings.Cut(s, "/")
	num, err1 := strconv.ParseInt(a, 10, 64)
	den, err2 := strconv.ParseInt(b, 10, 64)
	if !ok || err1 != nil || err2 != nil {
		return rational{}
	}
	return rational{num, den}
}

// probeDocument is the part of ffprobe's JSON that is read.
type probeDocument struct {
	Streams []struct {
		CodecType     string `json:"codec_type"`
		CodecName     string `json:"codec_name"`
		PixFmt        string `json:"pix_fmt"`
		Width         int64  `json:"width"`
		Height        int64  `json:"height"`
		RFrameRate    string `json:"r_frame_rate"`
		AvgFrameRate  string `json:"avg_frame_rate"`
		TimeBase      string `json:"time_base"`
		NbFrames      string `json:"nb_frames"`
		NbReadPackets string `json:"nb_read_packets"`
		Disposition   struct {
			AttachedPic int `json:"attached_pic"`
		} `json:"disposition"`
		Tags struct {
			Rotate string `json:"rotate"`
		} `json:"tags"`
		SideData []struct {
			Rotation *float64 `json:"rotation"`
		} `json:"side_data_list"`
	} `json:"streams"`
	Format struct {
		FormatName string `json:"format_name"`
	} `json:"format"`
}

// parseProbe finds the first real video stream; false when there is none.
func parseProbe(raw []byte) (stream, bool, error) {
	var d probeDocument
	if err := json.Unmarshal(raw, &d); err != nil {
		return stream{}, false, fmt.Errorf("ffprobe's answer cannot be read: %w", err)
	}
	for _, v := range d.Streams {
		if v.CodecType != "video" || v.Disposition.AttachedPic != 0 {
			continue
		}
		s := stream{
			Container: container(d.Format.FormatName), Codec: v.CodecName, PixFmt: v.PixFmt,
			Width: v.Width, Height: v.Height, Rate: parseRational(v.AvgFrameRate),
			TimeBase: parseRational(v.TimeBase), Other: len(d.Streams) > 1,
		}
		if !s.Rate.valid() || s.Rate.float() > maxFPS {
			s.Rate = parseRational(v.RFrameRate)
		}
		s.Promised, _ = strconv.ParseInt(v.NbFrames, 10, 64)
		tag, _ := strconv.ParseFloat(v.Tags.Rotate, 64)
		s.Rotation = quarter(tag)
		for _, side := range v.SideData {
			if side.Rotation != nil {
				s.Rotation = quarter(-*side.Rotation)
			}
		}
		return s, true, nil
	}
	return stream{}, false, nil
}

// parsePackets gives the number of packets that -count_packets counted.
func parsePackets(raw []byte) (int64, error) {
	var d probeDocument
	if err := json.Unmarshal(raw, &d); err != nil {
		return 0, fmt.Errorf("ffprobe's answer cannot be read: %w", err)
	}
	if len(d.Streams) != 1 {
		return 0, fmt.Errorf("the prepared video has %d streams instead of one", len(d.Streams))
	}
	return strconv.ParseInt(d.Streams[0].NbReadPackets, 10, 64)
}

// quarter rounds an angle to a quarter turn.
func quarter(degrees float64) int {
	q := int(math.Round(degrees/90)) % 4
	return (q + 4) % 4 * 90
}

// container gives the short name of a demuxer's list of names.
func container(names string) string {
	if strings.HasPrefix(names, "mov,mp4") {
		return "mp4"
	}
	first, _, _ := strings.Cut(names, ",")
	return first
}

// prefix is the "[demuxer @ 0x55…]" before ffmpeg's messages.
var prefix = regexp.MustCompile(`\[[^\]]* @ 0x[0-9a-f]+\] *`)

// words gives the last few distinct messages of ffmpeg as one clean line.
func words(stderr, file string) string {
	var out []string
	for line := range strings.Lines(stderr) {
		line = clean.Line(clean.Redact(prefix.ReplaceAllString(line, "")), 200)
		line = strings.TrimSpace(strings.TrimPrefix(line, file+":"))
		if line == "" || strings.HasPrefix(line, "Last message repeated") || len(out) > 0 && out[len(out)-1] == line {
			continue
		}
		out = append(out, line)
	}
	if len(out) > 3 {
		out = out[len(out)-3:]
	}
	if len(out) == 0 {
		return "no message"
	}
	return strings.Join(out, "; ")
}
