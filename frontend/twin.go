package frontend

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// twinPlaces are the files that have to be the same on both front-ends, below the root.
var twinPlaces = []string{"etc/one", "etc/cluster", "var/lib/one/.one", "var/lib/one/.ssh", "var/lib/one/remotes"}

// clusterConf is where RHCS has its configuration, below the root.
const clusterConf = "etc/cluster/cluster.conf"

// own are names of files that each machine may have for itself.
var own = []string{"known_hosts", "known_hosts.old"}

// Hashes are files and links of a front-end, by their paths.
type Hashes map[string]string

// placesBelow are the twinPlaces, and keys of fence_xvm that the cluster.conf has elsewhere.
func placesBelow(root string) ([]string, error) {
	text, err := os.ReadFile(filepath.Join(root, clusterConf))
	if errors.Is(err, fs.ErrNotExist) {
		return twinPlaces, nil
	}
	return append(slices.Clone(twinPlaces), Keys(string(text))...), err
}

// ReadHashes reads all that has to be the same on the twin of this front-end.
func ReadHashes(root string) (Hashes, error) {
	places, err := placesBelow(root)
	if err != nil {
		return nil, fmt.Errorf("front-end: %w; root may read it", err)
	}
	all := Hashes{}
	for _, place := range places {
		err := filepath.WalkDir(filepath.Join(root, place), func(path string, entry fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err != nil || entry.IsDir() || slices.Contains(own, entry.Name()) {
				return err
			}
			hash, err := hashOf(path, entry)
			if hash != "" {
				all[strings.TrimPrefix(path, strings.TrimSuffix(root, "/"))] = hash
			}
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("front-end: %w; root may read it", err)
		}
	}
	return all, nil
}

// hashOf is "" for what is neither a file nor a link.
func hashOf(path string, entry fs.DirEntry) (string, error) {
	switch {
	case entry.Type()&fs.ModeSymlink != 0:
		target, err := os.Readlink(path)
		return "link to " + target, err
	case !entry.Type().IsRegular():
		return "", nil
	}
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close() // only read
	sum := sha256.New()
	if _, err := io.Copy(sum, file); err != nil {
		return "", err
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// CompareTwins says what differs, by path.
func CompareTwins(ours, theirs Hashes) map[string]Finding {
	found := map[string]Finding{}
	paths := slices.Sorted(maps.Keys(ours))
	for path := range theirs {
		if _, both := ours[path]; !both {
			paths = append(paths, path)
		}
	}
	for _, path := range paths {
		here, there := ours[path], theirs[path]
		f := Finding{Line: 1, Why: "after a failover oned behaves in another way, or reaches no node", Do: "rsync it from the right one"}
		switch {
		case here == there:
			continue
		case here == "":
			f.What = "only the twin has it"
		case there == "":
			f.What = "the twin does not have it"
		default:
			f.What = "the twin's is another one"
		}
		found[path] = f
	}
	return found
}
