package cxmrc

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// words is a registry for values of any kind of text.
var words = Registry{{Name: "A", Optional: true}, {Name: "B_2", Optional: true}}

func parseWords(text string) (*Config, error) { return Parse(strings.NewReader(text), "file", words) }

func TestValuesAreWhatAShellAssigns(t *testing.T) {
	for line, want := range map[string]string{
		`A=`:                               "",
		`A=plain`:                          "plain",
		`  A=plain  `:                      "plain",
		`export A=plain`:                   "plain",
		"export\t A=plain":                 "plain",
		`A=plain # a comment`:              "plain",
		`A=plain#no_comment`:               "plain#no_comment",
		`A="two words"`:                    "two words",
		`A='two words' # x`:                "two words",
		`A="a # b"`:                        "a # b",
		`A=a"b c"'d e'f`:                   "ab cd ef",
		`A="\$HOME \"x\" \\ \` + "`" + `"`: `$HOME "x" \ ` + "`",
		`A="keeps \n this"`:                `keeps \n this`,
		`A='keeps $all \ of it "'`:         `keeps $all \ of it "`,
		`A=two\ words\$`:                   "two words$",
		`A=a=b`:                            "a=b",
		`A=*?[x]{}!%~`:                     "*?[x]{}!%~",
		"A=dos\r":                          "dos",
		`A=""`:                             "",
		`A=äöü`:                            "äöü",
	} {
		config, err := parseWords(line)
		require.NoError(t, err, line)
		assert.Equal(t, want, config.String("A"), line)
	}
}

func TestLinesThatNeedAShellAreRefused(t *testing.T) {
	for _, line := range []string{
		"A=$HOME", "A=`id`", "A=$(id)", "A=a;reboot", "A=a && reboot", "A=a&&reboot", "A=a|b", "A=a>b", "A=a<b", "A=(a b)", "A=~/x",
		`A="$HOME"`, "A=\"`id`\"", "A=two words", `A="a" b`, "A =a", "A= a", "A", "export A", "set -e", "if true; then", "A+=x", "1A=x",
		"A-B=x", `A="open`, `A='open`, `A=a\`, `A="a\`, "A=a\rb", "A=a\x00", "A=a\x1b", "A=\xff", "exportA=x", ". /etc/one", "A='a'; B_2=b",
	} {
		_, err := parseWords("\n# comment\n" + line + "\nA=fine\n")
		var at *LineError
		require.ErrorAs(t, err, &at, line)
		assert.Equal(t, 3, at.Line, line)
		assert.True(t, errors.Is(err, ErrSyntax) || errors.Is(err, ErrUnknown), line)
		assert.True(t, strings.HasPrefix(err.Error(), "file:3: "), err.Error())
	}
}

func TestFile(t *testing.T) {
	config, err := parseWords("# first\n\n \t\nA=one\nB_2=two\nA=three")
	require.NoError(t, err)
	assert.Equal(t, []Setting{{"A", "three", "file:6"}, {"B_2", "two", "file:5"}}, config.Effective())
	assert.Equal(t, "file:6", config.Origin("A"))
}

func TestUnknownVariables(t *testing.T) {
	for line, want := range map[string]string{
		"VGNAME=x":           "file:1: unknown variable VGNAME; did you mean VG_NAME?",
		"vg_name=x":          "file:1: unknown variable vg_name; did you mean VG_NAME?",
		"SHUTDOWN_TIMOUT=3":  "file:1: unknown variable SHUTDOWN_TIMOUT; did you mean SHUTDOWN_TIMEOUT?",
		"SOMETHING_ELSE=yes": "file:1: unknown variable SOMETHING_ELSE",
	} {
		_, err := Parse(strings.NewReader(line), "file", Driver)
		require.ErrorIs(t, err, ErrUnknown)
		assert.EqualError(t, err, want)
	}
}

func TestOversizedLine(t *testing.T) {
	_, err := parseWords("A=x\nA=" + strings.Repeat("x", maxLine))
	require.ErrorIs(t, err, ErrSyntax)
	assert.ErrorContains(t, err, "file:2: ")
}

func TestReadError(t *testing.T) {
	broken := errors.New("disk gone")
	_, err := Parse(iotest.ErrReader(broken), "file", words)
	require.ErrorIs(t, err, broken)
	assert.ErrorContains(t, err, "file: ")
}

func TestFilesOfTheOriginal(t *testing.T) {
	config, err := Parse(strings.NewReader(`# cxm drivers
DEBUG=False
TMP_ROOT=/var/tmp
export VG_NAME=LVM_XEN
LV_PREFIX="lv-one"
CFG_DIR=/etc/xen/vm/
AUTO_DIR=/etc/xen/auto/
DEFAULT_LV_SIZE=8G
VM_FQDN_TEMPLATE=%U-%V.vm.home.net
MODE=TGZ
XPATH=xpath
COMPRESS_LEVEL=1
SHUTDOWN_TIMEOUT=300
BLOCK_SIZE=1M
DEFAULT_FSTYPE=ext3
`), "cxmrc", Driver)
	require.NoError(t, err)
	assert.Equal(t, int64(8<<30), config.Size("DEFAULT_LV_SIZE"))
	assert.Equal(t, int64(1<<20), config.Size("BLOCK_SIZE"))
	assert.Equal(t, 300, config.Int("SHUTDOWN_TIMEOUT"))
	assert.Equal(t, "ext3", config.String("DEFAULT_FSTYPE"))
	assert.False(t, config.Bool("DEBUG"))
}

func TestLoad(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cxmrc")
	_, err := Load(path)
	require.ErrorIs(t, err, os.ErrNotExist)
	require.NoError(t, os.WriteFile(path, []byte("VG_NAME=vg-one\n"), 0o600))
	config, err := Load(path)
	require.NoError(t, err)
	assert.Equal(t, Setting{"VG_NAME", "vg-one", path + ":1"}, config.Effective()[2])
}

func TestFind(t *testing.T) {
	location := t.TempDir()
	t.Setenv("ONE_LOCATION", location)
	_, err := Find()
	require.ErrorIs(t, err, os.ErrNotExist)
	config, err := LoadFound()
	require.NoError(t, err)
	assert.Equal(t, OriginDefault, config.Origin("VG_NAME"))

	old := filepath.Join(location, "var/remotes/cxmrc")
	require.NoError(t, os.MkdirAll(filepath.Dir(old), 0o700))
	require.NoError(t, os.WriteFile(old, []byte("VG_NAME=old\n"), 0o600))
	config, err = LoadFound()
	require.NoError(t, err)
	assert.Equal(t, "old", config.String("VG_NAME"))

	current := filepath.Join(location, "var/remotes/etc/tm/clvm/cxmrc")
	require.NoError(t, os.MkdirAll(filepath.Dir(current), 0o700))
	require.NoError(t, os.WriteFile(current, []byte("VG_NAME=current\n"), 0o600))
	path, err := Find()
	require.NoError(t, err)
	assert.Equal(t, current, path)

	require.NoError(t, os.RemoveAll(filepath.Join(location, "var/remotes/etc")))
	require.NoError(t, os.WriteFile(filepath.Join(location, "var/remotes/etc"), nil, 0o600))
	_, err = LoadFound()
	require.Error(t, err, "a path that cannot be looked up is not an absent file")

	t.Setenv("ONE_LOCATION", "")
	assert.Equal(t, "/var/lib/one/remotes", remotesDir())
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"VG_NAME=vg-one # x", `export A="a\$b"`, "A='x'", `A=a\ b`, "BRIDGE_LIST=\"a b\"", "A=\"`\"", "DEFAULT_LV_SIZE=1.5G", "x", "#", "MODE=TGZ\nMODE=RAW",
	} {
		f.Add(seed)
	}
	registry := append(append(Registry{}, Driver...), words...)
	f.Fuzz(func(t *testing.T, text string) {
		config, err := Parse(strings.NewReader(text), "file", registry)
		if err != nil {
			require.True(t, errors.Is(err, ErrSyntax) || errors.Is(err, ErrUnknown) || errors.Is(err, ErrValue), err)
			return
		}
		for _, s := range config.Effective() {
			read(config, s.Name)
			if s.Origin == OriginDefault {
				continue
			}
			again, err := Parse(strings.NewReader(s.Name+"="+singleQuoted(s.Value)), "again", registry)
			require.NoError(t, err)
			require.Equal(t, s.Value, again.String(s.Name))
		}
	})
}

// singleQuoted quotes a value the way a person would for a shell.
func singleQuoted(value string) string { return "'" + strings.ReplaceAll(value, "'", `'\''`) + "'" }

// read gets a variable as what it is; it panics if a bad value got in.
func read(config *Config, name string) {
	v, _ := config.registry.find(name)
	switch v.Kind {
	case KindBool:
		config.Bool(name)
	case KindInt:
		config.Int(name)
	case KindSize:
		config.Size(name)
	}
}
