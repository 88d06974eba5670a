package doctor

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/google/renameio/v2"
)

// Trial is a drill that was passed.
type Trial struct {
	Drill string    `json:"drill"`
	Node  string    `json:"node"`
	At    time.Time `json:"at"`
}

// trialsFile in STATE_DIR has the trials, as JSON.
const trialsFile = "drills.json"

// maxTrials is how many of the last trials are remembered.
const maxTrials = 100

// ReadTrials reads those that were passed from this front-end; none is no error.
func ReadTrials(stateDir string) ([]Trial, error) {
	data, err := os.ReadFile(filepath.Join(stateDir, trialsFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var all []Trial
	if err == nil {
		err = json.Unmarshal(data, &all)
	}
	if err != nil {
		return nil, fmt.Errorf("passed drills: %w", err)
	}
	return all, nil
}

// Remember adds a trial, in one step: whoever dies here leaves the old file.
func (t Trial) Remember(stateDir string) error {
	all, err := ReadTrials(stateDir)
	if err != nil {
		return err
	}
	all = append(all, t)
	data, err := json.MarshalIndent(all[max(0, len(all)-maxTrials):], "", " ")
	if err == nil {
		err = os.MkdirAll(stateDir, 0o750)
	}
	if err == nil {
		err = renameio.WriteFile(filepath.Join(stateDir, trialsFile), append(data, '\n'), 0o640)
	}
	if err != nil {
		return fmt.Errorf("the drill was passed, but that cannot be remembered: %w", err)
	}
	return nil
}

// lastTrial is the last one in which a node was fenced.
func lastTrial(all []Trial) (Trial, bool) {
	for _, t := range slices.Backward(all) {
		if t.Drill == drillSAN || t.Drill == drillNetwork {
			return t, true
		}
	}
	return Trial{}, false
}
