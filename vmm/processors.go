package vmm

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"one-clvm/cluster"
)

// sample is what the VMs of this node had used at a time.
type sample struct {
	At   time.Time        `json:"at"`
	Used map[string]int64 `json:"used"` // nanoseconds, by name
}

// samples are the last two that are far enough from each other to say something.
type samples struct {
	Before sample `json:"before"`
	Last   sample `json:"last"`
}

const (
	samplesName = "vmm-processors.json"
	shortest    = 5 * time.Second // between two samples
	longest     = time.Hour       // that a sample counts
)

// processors is how much of a processor each VM has used lately, percent: the counter's
// growth since an earlier call. The first call knows nothing. What is kept is a cache: one
// that cannot be read is made anew.
func (a *Agent) processors(domains map[string]cluster.Sighting) (map[string]float64, error) {
	if err := os.MkdirAll(a.Config.LockDir, 0o700); err != nil {
		return nil, fmt.Errorf("figures: %w", err)
	}
	file := filepath.Join(a.Config.LockDir, samplesName)
	var s samples
	text, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("figures: %w", err)
	}
	if json.Unmarshal(text, &s) != nil {
		s = samples{}
	}
	now := sample{At: a.Clock.Now(), Used: map[string]int64{}}
	for name, d := range domains {
		if d.Figures != nil {
			now.Used[name] = d.Figures.CPUNanoseconds
		}
	}
	if age := now.At.Sub(s.Last.At); age >= shortest || age < 0 {
		s = samples{Before: s.Last, Last: now}
		if text, err = json.Marshal(s); err != nil {
			return nil, fmt.Errorf("figures: %w", err)
		}
		if err := replace(file, text); err != nil {
			return nil, fmt.Errorf("figures: %w", err)
		}
	}
	return growth(s.Before, now), nil
}

func growth(before, now sample) map[string]float64 {
	out := map[string]float64{}
	age := now.At.Sub(before.At)
	if age < shortest || age > longest {
		return out
	}
	for name, used := range now.Used {
		if earlier, found := before.Used[name]; found && used >= earlier {
			out[name] = float64(used-earlier) / float64(age.Nanoseconds()) * 100
		}
	}
	return out
}

// replace writes a file whole or not at all.
func replace(name string, text []byte) error {
	file, err := os.CreateTemp(filepath.Dir(name), filepath.Base(name)+".*")
	if err != nil {
		return err
	}
	_, err = file.Write(text)
	err = errors.Join(err, file.Close())
	if err == nil {
		err = os.Rename(file.Name(), name)
	}
	if err != nil {
		return errors.Join(err, os.Remove(file.Name()))
	}
	return nil
}
