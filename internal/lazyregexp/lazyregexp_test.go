package lazyregexp_test

import (
	"os"
	"testing"

	"github.com/stretchr/testify/assert"

	"one-clvm/internal/lazyregexp"
)

func TestBadTextsAreFoundByTests(t *testing.T) {
	assert.Panics(t, func() { lazyregexp.New("(") })
	name := os.Args[0]
	defer func() { os.Args[0] = name }()
	os.Args[0] = "tm-clvm"
	bad := lazyregexp.New("(")
	assert.Panics(t, func() { bad.MatchString("") })
}
