package export

import (
	"bufio"
	"encoding/json"
	"io"

	"github.com/pose-dev/pose-operator/internal/result"
)

// cocoJoints are COCO's 17 keypoints in COCO's order.
var cocoJoints = [...]struct {
	name string
	of   joint
}{
	{"nose", nose},
	{"left_eye", leftEye}, {"right_eye", rightEye},
	{"left_ear", leftEar}, {"right_ear", rightEar},
	{"left_shoulder", leftShoulder}, {"right_shoulder", rightShoulder},
	{"left_elbow", leftElbow}, {"right_elbow", rightElbow},
	{"left_wrist", leftWrist}, {"right_wrist", rightWrist},
	{"left_hip", leftHip}, {"right_hip", rightHip},
	{"left_knee", leftKnee}, {"right_knee", rightKnee},
	{"left_ankle", leftAnkle}, {"right_ankle", rightAnkle},
}

// cocoEdges joins them, counted from 1 as COCO does.
var cocoEdges = [][2]int{
	{16, 14}, {14, 12}, {17, 15}, {15, 13}, {12, 13}, {6, 12}, {7, 13}, {6, 7}, {6, 8}, {7, 9},
	{8, 10}, {9, 11}, {2, 3}, {1, 2}, {1, 3}, {2, 4}, {3, 5}, {4, 6}, {5, 7},
}

// cocoVisible is the visibility from which on a joint counts as seen (v = 2).
const cocoVisible = 0.5

type cocoCategory struct {
	ID            int      `json:"id"`
	Name          string   `json:"name"`
	Supercategory string   `json:"supercategory"`
	Keypoints     []string `json:"keypoints"`
	Skeleton      [][2]int `json:"skeleton"`
}

// writeCOCO writes a dataset (images, annotations, categories) and the same people
// as detection results. Ids of images and annotations count from 1: an annotation
// of id 0 is never matched by pycocotools.
func writeCOCO(j *job) error {
	return j.file(j.name(".json", "coco.json"), func(dataset io.Writer) error {
		return j.file(j.name("-results.json", "coco-results.json"), func(results io.Writer) error {
			d, r := bufio.NewWriterSize(dataset, 1<<16), bufio.NewWriterSize(results, 1<<16)
			c := coco{job: j, dataset: d, results: r}
			if err := c.write(); err != nil {
				return err
			}
			if err := d.Flush(); err != nil {
				return err
			}
			return r.Flush()
		})
	})
}

type coco struct {
	*job
	dataset, results *bufio.Writer
	out              line
	annotations      int64
}

func (c *coco) write() error {
	if err := c.head(); err != nil {
		return err
	}
	c.out.text(`],"annotations":[`)
	if err := c.out.flush(c.dataset); err != nil {
		return err
	}
	if err := c.out.text("[").flush(c.results); err != nil {
		return err
	}
	err := c.frames(func(f *result.Frame) error {
		for i := range f.People {
			if err := c.person(f.Index, &f.People[i]); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := c.out.text("\n]}\n").flush(c.dataset); err != nil {
		return err
	}
	return c.out.text("\n]\n").flush(c.results)
}

// head writes everything before the annotations: none of it depends on frames.
func (c *coco) head() error {
	h := c.src.Head
	category := cocoCategory{ID: 1, Name: "person", Supercategory: "person", Skeleton: cocoEdges}
	for _, k := range cocoJoints {
		category.Keypoints = append(category.Keypoints, k.name)
	}
	info := map[string]string{
		"description": "People found by " + h.Engine.Name + " " + h.Engine.Version + "; machine-made, not annotated by hand",
		"version":     "1.0",
	}
	for _, part := range []struct {
		name  string
		value any
	}{{`{"info":`, info}, {`,"licenses":[],"categories":`, []cocoCategory{category}}} {
		b, err := json.Marshal(part.value)
		if err != nil {
			return err
		}
		c.out.text(part.name).text(string(b))
	}
	c.out.text(`,"images":[`)
	for i := range h.Video.Frames {
		if i > 0 {
			c.out.text(",")
		}
		c.out.text("\n" + `{"id":`).int(i + 1).text(`,"file_name":"` + frameName(i, ".jpg"))
		c.out.text(`","width":`).int(h.Video.Width).text(`,"height":`).int(h.Video.Height)
		c.out.text(`,"frame_index":`).int(i).text(`,"source_frame":`).int(h.Video.StartFrame + i)
		if c.src.Times != nil {
			c.out.text(`,"time_s":`).fixed(c.worldTime(i), 6)
		}
		c.out.text("}")
		if err := c.out.flush(c.dataset); err != nil {
			return err
		}
	}
	return nil
}

// frameName is the name that a picture of a frame has by custom: twelve digits.
func frameName(i int64, extension string) string {
	var digits [12]byte
	for k := len(digits) - 1; k >= 0; k-- {
		digits[k] = byte('0' + i%10)
		i /= 10
	}
	return string(digits[:]) + extension
}

// person writes one annotation, and the same as a result.
func (c *coco) person(frame int64, p *result.Person) error {
	comma := ""
	if c.annotations > 0 {
		comma = ","
	}
	c.annotations++

	o := &c.out
	o.text(comma + "\n" + `{"id":`).int(c.annotations).text(`,"image_id":`).int(frame + 1).text(`,"category_id":1,"track_id":`).int(p.ID)
	o.text(`,"iscrowd":0,"observed":`).text(boolean(observed(p))).text(`,"score":`).fixed(p.Score, 4)
	o.text(`,"bbox":[`)
	c.numbers(p.BBox[:])
	o.text(`],"area":`).fixed(p.BBox[2]*p.BBox[3], 2).text(`,"segmentation":[],"num_keypoints":`)
	labelled := int64(0)
	for _, k := range cocoJoints {
		if c.layout.has(k.of) {
			labelled++
		}
	}
	o.int(labelled).text(`,"keypoints":[`)
	c.keypoints(p, func(visibility float64) float64 {
		if visibility >= cocoVisible { // never of a guess: the format has 0 there (R12)
			return 2
		}
		return 1
	})
	if err := o.text("]}").flush(c.dataset); err != nil {
		return err
	}

	o.text(comma + "\n" + `{"image_id":`).int(frame + 1).text(`,"category_id":1,"track_id":`).int(p.ID)
	o.text(`,"score":`).fixed(p.Score, 4).text(`,"keypoints":[`)
	c.keypoints(p, func(visibility float64) float64 { return visibility })
	return o.text("]}").flush(c.results)
}

// keypoints writes x, y and a third number of each; zeros for a joint that the
// skeleton lacks.
func (c *coco) keypoints(p *result.Person, third func(visibility float64) float64) {
	for i, k := range cocoJoints {
		if i > 0 {
			c.out.text(",")
		}
		x, y, visibility, ok := c.layout.pixel(p, k.of)
		if !ok {
			c.out.text("0,0,0")
			continue
		}
		c.numbers([]float64{x, y, third(visibility)})
	}
}

func (c *coco) numbers(v []float64) {
	for i, f := range v {
		if i > 0 {
			c.out.text(",")
		}
		c.out.fixed(f, 3)
	}
}

func boolean(b bool) string {
	if b {
		return "true"
	}
	return "false"
}
