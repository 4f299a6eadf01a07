package tomlfile

import (
	"bytes"
	"strings"

	"github.com/BurntSushi/toml"
)

// Set returns data, the contents of path, with the top-level key name set to
// value, a TOML value on one line; "" removes the key. Everything else stays
// as people wrote it, comments too. A new key is put at the end: data
// must not have tables.
func Set(path string, data []byte, name, value string) ([]byte, error) {
	var keys map[string]toml.Primitive
	f, err := Decode(path, data, &keys)
	if err != nil {
		return nil, err
	}
	if len(data) > 0 && !bytes.HasSuffix(data, []byte("\n")) {
		data = append(data[:len(data):len(data)], '\n')
	}
	lines := strings.SplitAfter(string(data), "\n")
	lines = lines[:len(lines)-1]
	at, end := len(lines), len(lines)
	for key, line := range f.lines {
		if strings.EqualFold(key, toml.Key{name}.String()) {
			at, end = line-1, line
			// A list may go over several lines: it ends where it is whole.
			for end < len(lines) && toml.Unmarshal([]byte(strings.Join(lines[at:end], "")), new(map[string]any)) != nil {
				end++
			}
		}
	}
	var with []string
	if value != "" {
		with = []string{toml.Key{name}.String() + " = " + value + "\n"}
	}
	out := strings.Join(append(append(append([]string(nil), lines[:at]...), with...), lines[end:]...), "")
	if _, err := Decode(path, []byte(out), &keys); err != nil {
		return nil, err
	}
	return []byte(out), nil
}
