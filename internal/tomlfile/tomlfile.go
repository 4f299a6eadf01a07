// Package tomlfile decodes TOML files that people write, strictly: an unknown
// key, a wrong type and a bad value are problems with file and line, and all
// problems of a file are reported together.
//
// It decodes into structs whose every field has a toml tag. Values are what
// BurntSushi/toml decodes; tables are nested structs or maps from a name to a
// struct. Arrays of tables are left out on purpose: their keys have no line of
// their own, and a named table says what it is.
package tomlfile

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"
)

// Problem is one thing wrong with a file.
type Problem struct {
	File string
	Line int    // from 1; 0 where the problem is that something is absent
	Key  string // "listen.smtp"; "" where the file is not TOML at all
	Text string // what is wrong and what to write instead
}

// Error is "buzon.toml:3: hostname: what is wrong".
func (p Problem) Error() string {
	s := p.File + ":"
	if p.Line > 0 {
		s += fmt.Sprintf("%d:", p.Line)
	}
	if p.Key != "" {
		s += " " + p.Key + ":"
	}
	return s + " " + p.Text
}

// Problems is every problem of a file, in the order of its lines.
type Problems []Problem

// Error is one problem a line.
func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.Error()
	}
	return strings.Join(lines, "\n")
}

// File is a decoded file, kept for the checks that only its user can make.
type File struct {
	path     string
	lines    map[string]int // key → line
	problems Problems
}

// Decode reads data, the contents of path, into the struct that into points
// to. Fields of keys that are absent keep their values. The error, if any, is
// that of File.Err.
func Decode(path string, data []byte, into any) (*File, error) {
	f := &File{path: path, lines: make(map[string]int)}
	var keys map[string]toml.Primitive
	md, err := toml.Decode(string(data), &keys)
	if err != nil {
		f.syntax(err)
		return f, f.Err()
	}
	w := walk{File: f, md: &md}
	w.table(nil, keys, reflect.ValueOf(into).Elem())
	return f, f.Err()
}

// Has reports whether the file sets the key.
func (f *File) Has(key ...string) bool {
	_, ok := f.lines[toml.Key(key).String()]
	return ok
}

// Problem notes something wrong with the value of a key, which need not be in
// the file.
func (f *File) Problem(key []string, format string, args ...any) {
	f.problems = append(f.problems, f.At(key, format, args...))
}

// At makes a Problem of a key without noting it. Of a key that is absent the
// line is that of its table.
func (f *File) At(key []string, format string, args ...any) Problem {
	p := Problem{File: f.path, Key: toml.Key(key).String(), Text: fmt.Sprintf(format, args...)}
	for n := len(key); n > 0 && p.Line == 0; n-- {
		p.Line = f.lines[toml.Key(key[:n]).String()]
	}
	return p
}

// Err returns the problems found so far as a Problems, or nil.
func (f *File) Err() error {
	if len(f.problems) == 0 {
		return nil
	}
	slices.SortStableFunc(f.problems, func(a, b Problem) int { return a.Line - b.Line })
	return f.problems
}

// syntax notes an error of the TOML grammar.
func (f *File) syntax(err error) {
	p := Problem{File: f.path, Text: strings.TrimPrefix(err.Error(), "toml: ")}
	var pe toml.ParseError
	if errors.As(err, &pe) {
		p.Line, p.Text = pe.Position.Line, strings.TrimSuffix(pe.Message, ".")
	}
	f.problems = append(f.problems, p)
}

// walk goes through a decoded file beside the struct that describes it.
type walk struct {
	*File
	md *toml.MetaData
}

// table decodes the keys of one table into a struct, or into a map of named tables.
func (w walk) table(path toml.Key, keys map[string]toml.Primitive, into reflect.Value) {
	for name, value := range keys {
		key := append(slices.Clip(path), name)
		w.lines[key.String()] = w.line(value)
		if into.Kind() == reflect.Map {
			element := reflect.New(into.Type().Elem()).Elem()
			w.value(key, value, element)
			if into.IsNil() {
				into.Set(reflect.MakeMap(into.Type()))
			}
			into.SetMapIndex(reflect.ValueOf(name), element)
			continue
		}
		known := Fields(into.Type())
		i := slices.IndexFunc(known, func(f Field) bool { return f.Name == name })
		if i < 0 {
			w.Problem(key, "unknown key; %s", suggest(name, known))
			continue
		}
		w.value(key, value, into.Field(known[i].index))
	}
}

// value decodes one value, table or not.
func (w walk) value(key toml.Key, value toml.Primitive, into reflect.Value) {
	if into.Type() == reflect.TypeFor[toml.Primitive]() {
		return // only where it stands is asked for
	}
	found, want := w.md.Type(key...), wanted(into)
	if found == "" { // a table only implied by the header of one below it
		found = "Hash"
	}
	if !slices.Contains(want.types, found) {
		w.Problem(key, "this is %s; write %s", described[found], want.text)
		return
	}
	if want.types[0] == "Hash" {
		var keys map[string]toml.Primitive
		if err := w.md.PrimitiveDecode(value, &keys); err != nil {
			w.Problem(key, "%s", plain(err))
			return
		}
		w.table(key, keys, into)
		return
	}
	if err := w.md.PrimitiveDecode(value, into.Addr().Interface()); err != nil {
		if strings.Contains(err.Error(), "incompatible types") { // inside an array
			w.Problem(key, "write %s", want.text)
			return
		}
		w.Problem(key, "%s", plain(err))
	}
}

// line finds the line of a value: the library tells it in errors only. A table
// without a header of its own begins with its first key.
func (w walk) line(value toml.Primitive) int {
	var pe toml.ParseError
	if errors.As(w.md.PrimitiveDecode(value, new(refuser)), &pe) && pe.Position.Line > 0 {
		return pe.Position.Line
	}
	var keys map[string]toml.Primitive
	if w.md.PrimitiveDecode(value, &keys) != nil {
		return 0
	}
	first := 0
	for _, v := range keys {
		if l := w.line(v); first == 0 || l < first {
			first = l
		}
	}
	return first
}

type refuser struct{}

func (*refuser) UnmarshalTOML(any) error { return errors.New("refused") }

// plain is the message of an error without the library's own position.
func plain(err error) string {
	var pe toml.ParseError
	if errors.As(err, &pe) && pe.Message != "" {
		return pe.Message
	}
	return strings.TrimPrefix(err.Error(), "toml: ")
}

// Field is a key that a struct describes.
type Field struct {
	Name  string
	Type  reflect.Type
	index int
}

// Fields returns the keys of a table that the struct type t describes.
func Fields(t reflect.Type) []Field {
	var fields []Field
	for i := range t.NumField() {
		if name := t.Field(i).Tag.Get("toml"); name != "" {
			fields = append(fields, Field{name, t.Field(i).Type, i})
		}
	}
	return fields
}

// Keys returns every key below the struct type t with dots between the
// names; "*" stands for the name of a named table.
func Keys(t reflect.Type) []string {
	switch {
	case isTable(t) && t.Kind() == reflect.Map:
		return prefixed("*", Keys(t.Elem()))
	case isTable(t):
		var keys []string
		for _, f := range Fields(t) {
			keys = append(keys, prefixed(f.Name, Keys(f.Type))...)
		}
		return keys
	}
	return []string{""}
}

func prefixed(name string, keys []string) []string {
	for i, k := range keys {
		keys[i] = strings.TrimSuffix(name+"."+k, ".")
	}
	return keys
}

func isTable(t reflect.Type) bool {
	return (t.Kind() == reflect.Struct && len(Fields(t)) > 0) ||
		(t.Kind() == reflect.Map && isTable(t.Elem()))
}

// want is what a field takes.
type want struct {
	types []string // as MetaData.Type names them
	text  string
}

var described = map[string]string{
	"String": "a string", "Integer": "a number", "Float": "a number with a fraction", "Bool": "true or false",
	"Datetime": "a date", "Array": "a list", "Hash": "a table", "ArrayHash": "a list of tables",
}

type textual interface{ UnmarshalText([]byte) error }

func wanted(field reflect.Value) want {
	kind := field.Kind()
	if _, ok := field.Addr().Interface().(textual); ok && kind != reflect.Struct {
		if kind == reflect.Int64 { // size.Bytes and the like
			return want{[]string{"String", "Integer"}, `a number or a string like "10 MiB"`}
		}
		return want{[]string{"String"}, "a string in quotes"}
	}
	switch {
	case isTable(field.Type()):
		return want{[]string{"Hash"}, "a table"}
	case kind == reflect.String:
		return want{[]string{"String"}, "a string in quotes"}
	case kind == reflect.Bool:
		return want{[]string{"Bool"}, "true or false"}
	case kind >= reflect.Int && kind <= reflect.Uint64:
		return want{[]string{"Integer"}, "a whole number"}
	case kind == reflect.Slice:
		return want{[]string{"Array"}, `a list of strings like ["one", "two"]`}
	}
	return want{[]string{"Datetime"}, "a date and time like 2026-01-31T12:00:00Z"}
}

// suggest names the known key that was probably meant: the nearest one when
// half of the letters are right, else all of them.
func suggest(name string, known []Field) string {
	nearest, names := len(name)/2+1, make([]string, len(known))
	meant := ""
	for i, f := range known {
		names[i] = f.Name
		if d := distance(name, f.Name); d < nearest {
			nearest, meant = d, f.Name
		}
	}
	if meant != "" {
		return fmt.Sprintf("did you mean %s?", meant)
	}
	slices.Sort(names)
	return "known here: " + strings.Join(names, ", ")
}

// distance is the number of letters to change, add or drop between a and b.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	a, b = strings.ToLower(a), strings.ToLower(b)
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, diagonal+1, row[j]+1)
		}
	}
	return row[len(b)]
}
