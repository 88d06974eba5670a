package lvm2

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestFilterWithoutVolumes(t *testing.T) {
	ours := []string{`"r|^/dev/vg-one/|"`, `"r|^/dev/mapper/vg--one-[^-]|"`}
	for text, kept := range map[string][]string{
		"":                                  nil,
		`filter=["a|.*|"]`:                  nil,
		`filter=["a/.*/"]`:                  nil,
		`filter="r|/dev/sdb|"`:              {`"r|/dev/sdb|"`},
		`filter=["r|/dev/sdb|", "a|.*|"]`:   {`"r|/dev/sdb|"`},
		`filter=[ "a|^/dev/sd|", "r|.*|" ]`: {`"a|^/dev/sd|"`, `"r|.*|"`},
		`filter=["a|\"quoted\"|","r|.*|"]`:  {`"a|\"quoted\"|"`, `"r|.*|"`},
	} {
		assert.Equal(t, append(append([]string{}, ours...), kept...), filterWithoutVolumes([]string{"vg-one"}, []byte(text)), text)
	}
	assert.Contains(t, filterWithoutVolumes([]string{"a.b+c"}, nil)[0], `^/dev/a\.b\+c/`)
}

func FuzzFilterWithoutVolumes(f *testing.F) {
	f.Add("filter=[\"r|/dev/sdb|\", \"a|.*|\"]")
	f.Fuzz(func(t *testing.T, configured string) {
		filter := filterWithoutVolumes([]string{"vg-one"}, []byte(configured))
		assert.Equal(t, `"r|^/dev/vg-one/|"`, filter[0])
		for _, pattern := range filter {
			inside := strings.TrimSuffix(strings.TrimPrefix(pattern, `"`), `"`)
			assert.NotContains(t, strings.NewReplacer(`\\`, "", `\"`, "").Replace(inside), `"`, "it would end the string")
		}
	})
}
