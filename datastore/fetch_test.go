package datastore

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/opennebula"
	"one-clvm/tarmode"
)

// server serves one file, and breaks connections after so many bytes.
type server struct {
	content  []byte
	cut      int // bytes of an answer until the connection breaks; 0 never
	ranges   bool
	mute     bool // sends what cut says, and then nothing
	status   int
	tag      func(request int) string
	requests atomic.Int32
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	n := int(s.requests.Add(1))
	if s.status != 0 {
		w.WriteHeader(s.status)
		return
	}
	tag := `"one"`
	if s.tag != nil {
		tag = s.tag(n)
	}
	w.Header().Set("ETag", tag)
	from := 0
	if text, ok := strings.CutPrefix(r.Header.Get("Range"), "bytes="); ok && s.ranges && r.Header.Get("If-Range") == tag {
		from, _ = strconv.Atoi(strings.TrimSuffix(text, "-"))
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(s.content)-1, len(s.content)))
	}
	rest := s.content[from:]
	w.Header().Set("Content-Length", strconv.Itoa(len(rest)))
	if from > 0 {
		w.WriteHeader(http.StatusPartialContent)
	}
	if s.cut == 0 || len(rest) <= s.cut {
		_, _ = w.Write(rest)
		return
	}
	_, _ = w.Write(rest[:s.cut])
	if s.mute {
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}
	panic(http.ErrAbortHandler)
}

func (s *server) start(t *testing.T) *fetcher {
	listening := httptest.NewServer(s)
	t.Cleanup(listening.Close)
	f := newFetcher(listening.URL, time.Minute, time.Minute)
	f.pause = 0
	return f
}

func TestFetchResumes(t *testing.T) {
	content := bytes.Repeat([]byte("0123456789"), 100_000)
	for name, s := range map[string]*server{
		"at once": {ranges: true}, "cut": {ranges: true, cut: 300_000}, "no ranges": {cut: 600_000},
	} {
		s.content = content
		if name == "no ranges" { // the second answer is whole
			s.cut = 0
			f := s.start(t)
			var out bytes.Buffer
			out.Write(content[:1000])
			n, err := f.copyFrom(t.Context(), 0, &bytes.Buffer{})
			require.NoError(t, err)
			require.EqualValues(t, len(content), n)
			came := 0
			body, err := f.open(t.Context(), 1000, func() { came++ })
			require.NoError(t, err)
			require.NoError(t, body.Close())
			assert.Positive(t, came, "what is passed over is no silence")
			n, err = f.copyFrom(t.Context(), 1000, &out)
			require.NoError(t, err)
			require.EqualValues(t, len(content)-1000, n)
			assert.True(t, bytes.Equal(content, out.Bytes()))
			continue
		}
		var out bytes.Buffer
		n, err := s.start(t).copy(t.Context(), &out)
		require.NoError(t, err, name)
		assert.EqualValues(t, len(content), n)
		assert.True(t, bytes.Equal(content, out.Bytes()), name)
	}
}

func TestFetchGivesUp(t *testing.T) {
	content := bytes.Repeat([]byte("x"), 100_000)
	for name, c := range map[string]struct {
		s        *server
		want     string
		requests int
	}{
		"nothing comes": {&server{status: http.StatusServiceUnavailable}, "503", attempts},
		"not found":     {&server{status: http.StatusNotFound}, "404", 1},
		"forbidden":     {&server{status: http.StatusForbidden}, "403", 1},
		"changed":       {&server{content: content, ranges: true, cut: 60_000, tag: func(n int) string { return fmt.Sprintf(`"%d"`, n) }}, "was changed", 2},
	} {
		_, err := c.s.start(t).copy(t.Context(), &bytes.Buffer{})
		require.ErrorContains(t, err, c.want, name)
		assert.EqualValues(t, c.requests, c.s.requests.Load(), name)
	}
	s := &server{content: content, ranges: true, cut: 20_000, mute: true}
	f := s.start(t)
	f.silent = 50 * time.Millisecond
	var out bytes.Buffer
	n, err := f.copy(t.Context(), &out) // each connection brings a little
	require.NoError(t, err)
	assert.EqualValues(t, len(content), n)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = (&server{content: content}).start(t).copy(ctx, &out)
	require.ErrorIs(t, err, context.Canceled)
}

func TestCopyOfAnAddress(t *testing.T) {
	disk := someDisk()
	b := newBench(t)
	s := &server{content: b.packed("gzip", disk), ranges: true}
	listening := httptest.NewServer(s)
	t.Cleanup(listening.Close)
	sum := md5.Sum(s.content)
	address := listening.URL + "/disk.gz?x=1"
	require.NoError(t, b.do("cp", image{"PATH": address, "SIZE": "3", "TEMPLATE/MD5": hex.EncodeToString(sum[:])}, nil))
	assert.Equal(t, disk, b.disk)
	b.asked = nil
	require.ErrorIs(t, b.do("cp", image{"PATH": address, "SIZE": "3", "TEMPLATE/MD5": strings.Repeat("0", 32)}, nil), ErrChecksum)
	assert.Empty(t, b.asked)
}

// No source fills the front-end's TMP_ROOT.
func TestMost(t *testing.T) {
	b := newBench(t)
	c := &call{DriverAction: &opennebula.DriverAction{Image: &opennebula.Image{Size: 80, Template: map[string]string{}}}, cfg: b.Config}
	most, err := c.most()
	require.NoError(t, err)
	assert.EqualValues(t, 90<<20+spare, most)
	c.Image.Template["SIZE"] = "160M"
	most, err = c.most()
	require.NoError(t, err)
	assert.EqualValues(t, 180<<20+spare, most)
	var out bytes.Buffer
	_, err = (&server{content: make([]byte, 3000)}).start(t).copy(t.Context(), &bounded{&out, 2000})
	require.ErrorIs(t, err, tarmode.ErrTooLarge)
	assert.LessOrEqual(t, out.Len(), 2000)
}
