package main

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"buzon/internal/tomlfile"
)

// exampleText is deploy/buzon.toml, and the same with every default written out.
func exampleText(t *testing.T) (asIs, all string) {
	t.Helper()
	text, err := os.ReadFile("../../deploy/buzon.toml")
	if err != nil {
		t.Fatal(err)
	}
	// "#key" is a setting, "# text" is prose.
	return string(text), regexp.MustCompile(`(?m)^#([a-z_\[])`).ReplaceAllString(string(text), "$1")
}

func TestExampleConfiguration(t *testing.T) {
	dir := t.TempDir()
	asIs, all := exampleText(t)
	least := loadText(t, dir, asIs)
	want := defaults()
	want.Hostname, want.Domains = "mail.example.org", []string{"example.org"}
	if !reflect.DeepEqual(least, want) {
		t.Errorf("the example means\n%+v\nwant the defaults\n%+v", least, want)
	}

	// The defaults that it shows are the defaults.
	all = strings.Replace(all, "host = \"\"", "host = \"smtp.example.net\"", 1)
	all = strings.Replace(all, "direct = false", "", 1)
	all = strings.Replace(all, "address = \"\"", "address = \"127.0.0.1:11332\"", 1)
	full := loadText(t, dir, all)
	want.Domain = map[string]domainConfig{"example.org": {}}
	want.Smarthost = map[string]smarthostConfig{"*": {Host: "smtp.example.net"}}
	full.DNS.Servers, full.Outbound.Addresses, full.Outbound.Source = nil, nil, nil // empty lists
	full.Incoming.TrustedForwarders, full.Incoming.Milters, full.Submission.Milters = nil, nil, nil
	want.DNSBL = map[string]dnsblConfig{"zen.spamhaus.org": {Codes: []string{}}}
	want.Milter = map[string]milterConfig{"rspamd": {Address: "127.0.0.1:11332"}}
	if !reflect.DeepEqual(full, want) {
		t.Errorf("the example shows\n%+v\nwant the defaults\n%+v", full, want)
	}
}

func loadText(t *testing.T, dir, text string) *config {
	t.Helper()
	path := filepath.Join(dir, "buzon.toml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := loadConfig(path)
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// Every key is in the example and on the page, with the same default, and
// nothing else is.
func TestConfigurationIsDocumented(t *testing.T) {
	keys := tomlfile.Keys(reflect.TypeFor[config]())
	_, all := exampleText(t)
	var shown []string
	table := ""
	for line := range strings.Lines(all) {
		if m := regexp.MustCompile(`^\[([a-z]+)(\.".*")?\]`).FindStringSubmatch(line); m != nil {
			table = m[1] + "."
			if m[2] != "" {
				table += "*."
			}
		} else if m := regexp.MustCompile(`^([a-z0-9_]+) = `).FindStringSubmatch(line); m != nil {
			shown = append(shown, table+m[1])
		}
	}
	sameKeys(t, "deploy/buzon.toml", keys, shown)

	page, err := os.ReadFile("../../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	var documented []string
	values := defaultValues()
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z0-9_.*]+)` \\| (.*?) \\| (.*) \\|$").FindAllStringSubmatch(string(page), -1) {
		key, value, text := m[1], m[2], m[3]
		documented = append(documented, key)
		if want, ok := values[key]; ok && value != "`"+want+"`" && value != "must be given" {
			t.Errorf("docs/configuration.md: the default of %s is %s, not %s", key, want, value)
		}
		isLive := slices.ContainsFunc(live, func(l string) bool { return key == l || strings.HasPrefix(key, l+".") })
		if isLive != strings.HasSuffix(text, "**live**") {
			t.Errorf("docs/configuration.md: %s is live: %t", key, isLive)
		}
	}
	sameKeys(t, "docs/configuration.md", keys, documented)
}

func sameKeys(t *testing.T, where string, want, got []string) {
	t.Helper()
	for _, key := range want {
		if !slices.Contains(got, key) {
			t.Errorf("%s does not have %s", where, key)
		}
	}
	for _, key := range got {
		if !slices.Contains(want, key) {
			t.Errorf("%s has %s, which there is not", where, key)
		}
	}
}

// defaultValues are the defaults as TOML, by key.
func defaultValues() map[string]string {
	values := make(map[string]string)
	var walk func(prefix string, v reflect.Value)
	walk = func(prefix string, v reflect.Value) {
		for i := range v.NumField() {
			key, f := prefix+v.Type().Field(i).Tag.Get("toml"), v.Field(i)
			switch {
			case f.Kind() == reflect.Struct:
				walk(key+".", f)
			case f.Kind() == reflect.Map:
				walk(key+".*.", reflect.New(f.Type().Elem()).Elem())
			default:
				values[key] = tomlValue(f)
			}
		}
	}
	walk("", reflect.ValueOf(*defaults()))
	return values
}

func tomlValue(v reflect.Value) string {
	switch x := v.Interface().(type) {
	case fmt.Stringer:
		return fmt.Sprintf("%q", x)
	}
	switch v.Kind() {
	case reflect.String:
		return fmt.Sprintf("%q", v.String())
	case reflect.Slice:
		items := make([]string, v.Len())
		for i := range items {
			items[i] = tomlValue(v.Index(i))
		}
		return "[" + strings.Join(items, ", ") + "]"
	}
	return fmt.Sprint(v.Interface())
}
