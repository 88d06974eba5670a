package wire

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestFramesComeOutAsTheyWentIn(t *testing.T) {
	var port bytes.Buffer
	w := NewWriter(&port)
	frames := []Frame{
		{ID: 0, Kind: Hello, Payload: []byte("hello")},
		{ID: 1 << 31, Kind: Data, Payload: bytes.Repeat([]byte{0xff}, MaxPayload)},
		{ID: 7, Kind: End, Payload: []byte{}},
	}
	for _, f := range frames {
		require.NoError(t, w.Write(f))
	}
	for _, want := range frames {
		got, err := Read(&port)
		require.NoError(t, err)
		assert.Equal(t, want, got)
	}
	_, err := Read(&port)
	assert.Equal(t, io.EOF, err)
}

func TestReadRefusesWhatIsNoFrame(t *testing.T) {
	for what, data := range map[string][]byte{
		"kind 0":            {0, 0, 0, 1, 0, 0, 0, 0, 0},
		"kind past Done":    {0, 0, 0, 1, byte(Done) + 1, 0, 0, 0, 0},
		"payload too large": {0, 0, 0, 1, byte(Data), 0, 1, 0, 1},
		"cut header":        {0, 0, 0, 1, byte(Data)},
		"cut payload":       {0, 0, 0, 1, byte(Data), 0, 0, 0, 2, 'x'},
	} {
		_, err := Read(bytes.NewReader(data))
		assert.Error(t, err, what)
		assert.NotErrorIs(t, err, io.EOF, what)
	}
}

func TestStreamSplitsWhatIsTooLarge(t *testing.T) {
	var port bytes.Buffer
	data := bytes.Repeat([]byte("0123456789"), MaxPayload/4)
	n, err := NewWriter(&port).Stream(3, Stdout).Write(data)
	require.NoError(t, err)
	assert.Equal(t, len(data), n)
	var got []byte
	for {
		f, err := Read(&port)
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		assert.EqualValues(t, 3, f.ID)
		got = append(got, f.Payload...)
	}
	assert.Equal(t, data, got)
}

func FuzzRead(f *testing.F) {
	f.Add([]byte{0, 0, 0, 1, byte(Data), 0, 0, 0, 1, 'x'})
	f.Fuzz(func(t *testing.T, data []byte) {
		frame, err := Read(bytes.NewReader(data))
		if err != nil {
			return
		}
		var again bytes.Buffer
		require.NoError(t, NewWriter(&again).Write(frame))
		assert.Equal(t, data[:again.Len()], again.Bytes())
	})
}
