package opennebula

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var (
	v38 = Version{}
	v54 = Version{5, 4, 13}
	v60 = Version{6, 0, 2}
	v68 = Version{6, 8, 3}
	v74 = Version{7, 4, 0}
)

func TestErrorInEachVersion(t *testing.T) {
	failure := errors.New("node1: make the file system on lv-one-42-0: ExitCode: 7\n  mkfs.ext4: no space\nEOF_ERR")
	const text = "node1: make the file system on lv-one-42-0: exit code: 7 mkfs.ext4: no space EOF-ERR\n"
	boxed := "ERROR MESSAGE --8<------\n" + text + "ERROR MESSAGE ------>8--\n"
	for version, want := range map[Version]string{
		v38: boxed, v54: boxed, {5, 12, 12}: boxed, v60: boxed,
		{6, 0, 3}: text, v68: text, {6, 10, 5}: text, {6, 99, 80}: text, v74: text,
	} {
		var out bytes.Buffer
		r := NewReporter(&out, version)
		r.Error(nil)
		r.Error(failure)
		r.Close()
		assert.Equal(t, want, out.String(), version)
	}
}

func TestLogLinesInEachVersion(t *testing.T) {
	for version, want := range map[Version]string{
		v38: "INFO: 12 volumes\nDEBUG: a b\nINFO: warning: odd\n",
		v68: "INFO: 12 volumes\nDEBUG: a b\nINFO: warning: odd\n",
		v74: "INFO: (12 volumes)\nDEBUG: a b\nWARN: odd\n",
	} {
		var out bytes.Buffer
		r := NewReporter(&out, version)
		r.Info("%d volumes", 12)
		r.Debug("a\nb")
		r.Warn("odd")
		r.Close()
		assert.Equal(t, want, out.String(), version)
	}
}

func TestLogLinesDoNotGetIntoTheMessage(t *testing.T) {
	var out bytes.Buffer
	r := NewReporter(&out, v68)
	r.Info("a step")
	assert.Empty(t, out.String(), "it waits for the end")
	r.Error(errors.New("it broke"))
	r.Close()
	assert.Equal(t, "it broke\n", out.String())
}

func TestATerminalGetsSentences(t *testing.T) {
	var out bytes.Buffer
	r := &Reporter{w: &out, form: terminal}
	r.Info("12 volumes")
	r.Warn("odd")
	r.Error(errors.New("it broke"))
	r.Close()
	assert.Equal(t, "12 volumes\nwarning: odd\nit broke\n", out.String())
}

func TestAFileIsNoTerminal(t *testing.T) {
	file, err := os.Create(filepath.Join(t.TempDir(), "stderr"))
	require.NoError(t, err)
	defer func() { require.NoError(t, file.Close()) }()
	assert.Equal(t, levels, formOf(file, v74))

	pseudoTerminal, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	require.NoError(t, err)
	defer func() { require.NoError(t, pseudoTerminal.Close()) }()
	assert.Equal(t, terminal, formOf(pseudoTerminal, v74))
}

func TestStandardErrorOfOldVersionsIsBounded(t *testing.T) {
	var out bytes.Buffer
	r := NewReporter(&out, v54)
	for i := range 2000 {
		r.Info("step %d %s", i, strings.Repeat("x", 100))
	}
	r.Error(errors.New(strings.Repeat("long ", 5000) + "the cause"))
	assert.Less(t, out.Len(), 60<<10)
	assert.Equal(t, 1, strings.Count(out.String(), "further log lines are left out"))
	assert.Contains(t, out.String(), "the cause\nERROR MESSAGE ------>8--\n")

	out.Reset()
	unbounded := NewReporter(&out, Version{5, 6, 0})
	for range 2000 {
		unbounded.Info("%s", strings.Repeat("x", 100))
	}
	assert.Greater(t, out.Len(), 200<<10)
}

func TestHeldLinesAreBounded(t *testing.T) {
	var out bytes.Buffer
	r := NewReporter(&out, v68)
	for range 2000 {
		r.Info("x")
	}
	r.Close()
	assert.Equal(t, maxHeld, strings.Count(out.String(), "\n"))
}

func TestAnErrorWithoutText(t *testing.T) {
	var out bytes.Buffer
	NewReporter(&out, v74).Error(errors.New("\n\x00"))
	assert.Equal(t, "failed without a message\n", out.String())
}

func TestSanitize(t *testing.T) {
	for text, want := range map[string]string{
		"plain":                               "plain",
		" a\r\n\tb\x00c ":                     "a b c",
		"ERROR: WARN:  warning: 12 LVs":       "12 LVs",
		"host: ERROR: text":                   "host: ERROR: text",
		"ExitCode: 0":                         "exit code: 0",
		"ERROR MESSAGE --8<------":            "error message --8<------",
		"\x1b[31mred\x1b[0m \u202eevil\u200b": "[31mred [0m evil",
		"bad \xff utf":                        "bad ? utf",
		"äöü – fine":                          "äöü – fine",
	} {
		assert.Equal(t, want, Sanitize(text))
	}
}

func TestShorten(t *testing.T) {
	assert.Equal(t, "short", shorten("short", 10))
	assert.Equal(t, "begin … end of", shorten("begin"+strings.Repeat(" x", 50)+" end of", 17))
	for max := 20; max < 30; max++ {
		umlauts := shorten(strings.Repeat("ä", 100), max)
		assert.LessOrEqual(t, len(umlauts), max)
		assert.Equal(t, umlauts, strings.ToValidUTF8(umlauts, "?"), "no character is cut in two")
	}
}

func FuzzSanitize(f *testing.F) {
	for _, seed := range []string{"ExitCode: 0", "EOF_ERR", "ERROR: 12", "ERROR MESSAGE --8<------", "a\nb", "\xff", "ERRExitCode:OR:", "EOF_"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		line := Sanitize(text)
		require.Equal(t, line, Sanitize(line), "doing it twice changes nothing")
		for _, version := range []Version{v54, v68, v74} {
			var out bytes.Buffer
			r := NewReporter(&out, version)
			r.Warn("%s", text)
			r.Close()
			r.Error(errors.New(text))
			got := out.String()
			require.True(t, strings.HasSuffix(got, "\n"))
			require.NotContains(t, got, "ExitCode:")
			require.NotContains(t, got, "EOF_ERR")
			require.NotContains(t, got, "EOF_OUT")
			if version == v54 {
				require.Equal(t, 2, strings.Count(got, "ERROR MESSAGE"))
				continue
			}
			require.Equal(t, 2, strings.Count(got, "\n"), "one line each")
			require.NotRegexp(t, `^(ERROR|INFO|WARN|DEBUG): +[0-9]`, got, "no number where 7.x looks for a VM")
			require.NotRegexp(t, `^(ERROR|INFO|WARN|DEBUG): `, strings.SplitN(got, "\n", 2)[1], "the message is no log line")
		}
	})
}

func TestExitStatus(t *testing.T) {
	assert.Equal(t, 0, ExitStatus(nil))
	assert.Equal(t, 1, ExitStatus(errors.New("x")))
	assert.Equal(t, 2, ExitStatus(fmt.Errorf("x: %w", ErrUsage)))
}

func TestParseVersion(t *testing.T) {
	for text, want := range map[string]Version{
		"7.4.0\n": {7, 4, 0}, "6.99.80": {6, 99, 80}, "5.12.0.4": {5, 12, 0}, "6.8": {6, 8, 0}, "5.4.0~rc1": {5, 4, 0}, "4.14.2-1": {4, 14, 2},
	} {
		v, err := ParseVersion(text)
		require.NoError(t, err, text)
		assert.Equal(t, want, v)
	}
	for _, bad := range []string{"", "7", "seven", "7.4.x", "v7.4.0", "99999.1.1", "7.4.0\n7.2.0"} {
		_, err := ParseVersion(bad)
		assert.Error(t, err, bad)
	}
	assert.Equal(t, "7.4.0", v74.String())
	assert.Equal(t, "4.2 or older", Version{}.String())
	assert.True(t, v60.AtLeast(6, 0, 2) && v60.AtLeast(5, 12, 9) && v68.AtLeast(6, 4, 9))
	assert.False(t, v60.AtLeast(6, 0, 3) || v60.AtLeast(6, 2, 0) || v60.AtLeast(7, 0, 0))
}

func TestDetectVersion(t *testing.T) {
	remotes := t.TempDir()
	v, err := DetectVersion(remotes)
	require.NoError(t, err)
	assert.Equal(t, Version{}, v, "up to 4.2 there is no file")

	file := filepath.Join(remotes, "VERSION")
	require.NoError(t, os.WriteFile(file, []byte("6.10.5"), 0o600))
	v, err = DetectVersion(remotes)
	require.NoError(t, err)
	assert.Equal(t, Version{6, 10, 5}, v)

	require.NoError(t, os.WriteFile(file, []byte("new"), 0o600))
	_, err = DetectVersion(remotes)
	assert.ErrorContains(t, err, file)
	require.NoError(t, os.Remove(file))
	require.NoError(t, os.Mkdir(file, 0o700))
	_, err = DetectVersion(remotes)
	assert.Error(t, err)
}

func TestRemotesDir(t *testing.T) {
	t.Setenv("ONE_LOCATION", "")
	assert.Equal(t, "/var/lib/one/remotes", RemotesDir())
	t.Setenv("ONE_LOCATION", "/srv/one")
	assert.Equal(t, "/srv/one/var/remotes", RemotesDir())
}

func TestOutput(t *testing.T) {
	assert.Equal(t, "USED_MB=3\nTOTAL_MB=10\nFREE_MB=7\n", FormatMonitor(10, 7, 3))
	assert.Equal(t, "1\n", FormatStat(1))
	assert.Equal(t, "1\n", FormatStat(1<<20))
	assert.Equal(t, "2\n", FormatStat(1<<20+1))
	assert.Equal(t, "0\n", FormatStat(0))
	assert.Equal(t, "/ds/1/abc\n", FormatCopied(v54, "/ds/1/abc", "raw"))
	assert.Equal(t, "/ds/1/abc raw\n", FormatCopied(v60, "/ds/1/abc", "raw"))
}
