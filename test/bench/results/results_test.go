package results

import (
	"bytes"
	"encoding/xml"
	"errors"
	"flag"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write the golden page and picture")

// recorded is a run of November 2026, on a machine with two processors.
func recorded(t *testing.T) *Results {
	t.Helper()
	log, err := os.Open("testdata/run.log")
	require.NoError(t, err)
	defer log.Close()
	r, err := Read(log)
	require.NoError(t, err)
	return r
}

func golden(t *testing.T, name, have string) {
	t.Helper()
	if *update {
		require.NoError(t, os.WriteFile("testdata/"+name, []byte(have), 0o644))
	}
	want, err := os.ReadFile("testdata/" + name)
	require.NoError(t, err)
	assert.Equal(t, string(want), have, "run: go test ./test/bench/results -update")
}

func TestPage(t *testing.T) {
	r := recorded(t)
	page := r.Markdown("benchmarks.svg")
	golden(t, "page.golden", page)
	assert.Contains(t, page, "- onto 40 GiB the full copy takes 32 times as long;")
	assert.NotContains(t, page, "missed")
	for _, ratio := range r.Ratios {
		assert.NotEmpty(t, what[ratio.Name], ratio.Name)
	}
	r.Ratios[0].Value = 0.1
	assert.Contains(t, r.Markdown("x.svg"), "| `overhead` | 0.10 **missed** | 0.33 |")
}

func TestPlot(t *testing.T) {
	r := recorded(t)
	picture := r.SVG()
	golden(t, "plot.golden", picture)
	decoder := xml.NewDecoder(strings.NewReader(picture))
	points := 0
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err, "well-formed")
		if start, ok := token.(xml.StartElement); ok && start.Name.Local == "circle" {
			points++
		}
	}
	assert.Equal(t, len(r.Deploys), points)
	r.Deploys = r.Deploys[:1]
	assert.NotContains(t, r.SVG(), "NaN", "one size alone")
}

func TestPrintAndRead(t *testing.T) {
	r := recorded(t)
	var log bytes.Buffer
	log.WriteString("ratio x 1.00\n")
	require.NoError(t, r.Print(&log))
	again, err := Read(&log)
	require.NoError(t, err)
	assert.Equal(t, r, again)
	_, err = Read(strings.NewReader("ratio x 1.00\n"))
	require.ErrorIs(t, err, ErrNone)
	_, err = Read(strings.NewReader("results {\n"))
	require.Error(t, err)
}
