package prepare

import (
	"encoding/json"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/pose-dev/pose-operator/internal/runner/clean"
)

// demuxers that a source may be read with. Playlists (hls, concat, dash) are
// left out: they make ffmpeg open other files. So are image sequences, devices
// and raw formats, which take anything for a video.
const demuxers = "mov,mp4,m4a,3gp,3g2,mj2,avi,matroska,webm,mpegts,mpeg,mpegvideo,flv,asf,ogg,mxf,ivf,h264,hevc"

// decoders that may run, by ffmpeg's names: what cameras, phones, editors and
// browsers write. ffmpeg has hundreds more, of games and of pictures; each is
// code that a hostile file could reach.
const decoders = "libdav1d,libaom-av1,av1,cfhd,cinepak,dnxhd,dvvideo,ffv1,ffvhuff,flv,h261,h263,h264,hevc,huffyuv,jpeg2000,magicyuv," +
	"mjpeg,mpeg1video,mpeg2video,mpeg4,msmpeg4v1,msmpeg4v2,msmpeg4,prores,qtrle,rawvideo,svq1,svq3,theora,utvideo,v210,vc1," +
	"vp6,vp6f,vp8,vp9,wmv1,wmv2,wmv3"

// openGuard must stand before every input that is read. Decoders are listed for
// videos alone (V): ffprobe gives up when it may not open a stream's decoder, and
// sound and cover art, which have their own, do no harm.
var openGuard = []string{"-protocol_whitelist", "file", "-format_whitelist", demuxers, "-codec_whitelist:V", decoders}

// decodeGuard must stand before every input that is decoded: a stream may change
// its size after its headers. Decoders round sizes up to whole blocks.
func decodeGuard(maxPixels int64) []string {
	if maxPixels <= 0 || maxPixels > math.MaxInt32 {
		maxPixels = math.MaxInt32 // as many as ffmpeg takes
	}
	return append(slices.Clone(openGuard), "-max_pixels", strconv.FormatInt(min(maxPixels+maxPixels/8+1<<16, math.MaxInt32), 10))
}

// stream is what ffprobe's headers say of the first video stream.
type stream struct {
	Container string
	Codec     string
	PixFmt    string
	Width     int64
	Height    int64
	Rotation  int // degrees that players turn it by, in [0, 360)
	// Mirrored says that the display matrix does more than turn.
	Mirrored bool
	// Interlaced says that a frame holds two fields of different times.
	Interlaced bool
	Rate       rational
	TimeBase   rational
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
		CodecType    string `json:"codec_type"`
		CodecName    string `json:"codec_name"`
		PixFmt       string `json:"pix_fmt"`
		Width        int64  `json:"width"`
		Height       int64  `json:"height"`
		RFrameRate   string `json:"r_frame_rate"`
		AvgFrameRate string `json:"avg_frame_rate"`
		TimeBase     string `json:"time_base"`
		NbFrames     string `json:"nb_frames"`
		FieldOrder   string `json:"field_order"`
		Disposition  struct {
			AttachedPic int `json:"attached_pic"`
		} `json:"disposition"`
		Tags struct {
			Rotate string `json:"rotate"`
		} `json:"tags"`
		SideData []struct {
			Rotation *float64 `json:"rotation"`
			Matrix   string   `json:"displaymatrix"`
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
		s.Interlaced = slices.Contains([]string{"tt", "bb", "tb", "bt"}, v.FieldOrder)
		s.Promised, _ = strconv.ParseInt(v.NbFrames, 10, 64)
		tag, _ := strconv.ParseFloat(v.Tags.Rotate, 64)
		s.Rotation = quarter(tag)
		for _, side := range v.SideData {
			if side.Rotation != nil {
				s.Rotation, s.Mirrored = quarter(-*side.Rotation), mirrors(side.Matrix)
			}
		}
		return s, true, nil
	}
	return stream{}, false, nil
}

// quarter rounds an angle to whole degrees, and to a quarter turn where ffmpeg
// makes one.
func quarter(degrees float64) int {
	if q := math.Round(degrees / 90); math.Abs(degrees-90*q) <= 1 {
		degrees = 90 * q
	}
	return (int(math.Round(degrees))%360 + 360) % 360
}

// mirrors says that a display matrix as ffprobe prints it has a negative
// determinant: a selfie that was flipped.
func mirrors(matrix string) bool {
	var m []float64
	for line := range strings.Lines(matrix) {
		_, numbers, ok := strings.Cut(line, ":")
		fields := strings.Fields(numbers)
		if !ok || len(fields) != 3 {
			continue
		}
		for _, f := range fields[:2] {
			n, _ := strconv.ParseFloat(f, 64)
			m = append(m, n)
		}
	}
	return len(m) == 6 && m[0]*m[3]-m[1]*m[2] < 0
}

// container gives the first of a demuxer's list of names: "mov" is QuickTime and
// MP4.
func container(names string) string {
	first, _, _ := strings.Cut(names, ",")
	return first
}

// prefix is the "[demuxer @ 0x55…]" before ffmpeg's messages.
var prefix = regexp.MustCompile(`\[[^\]]* @ 0x[0-9a-f]+\] *`)

// What ffmpeg says of a file of a kind, and of a stream with a codec, that the
// guards leave out.
var (
	otherFormat = regexp.MustCompile(`\[(\w+)[^\]]* @ 0x[0-9a-f]+\] Format not on whitelist`)
	otherCodec  = regexp.MustCompile(`Codec \(([\w-]+)\) not on whitelist`)
)

// badSize is what ffmpeg says of frames of more than 2^29 pixels or so.
var badSize = regexp.MustCompile(`Picture size (\d+x\d+) is invalid`)

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
