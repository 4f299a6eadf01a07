package main

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "rewrite testdata/bad/*.want; look at the difference")

// Every broken configuration in testdata/bad is refused with exactly the
// message beside it, which names the line and says what to write.
func TestBadConfigurations(t *testing.T) {
	files, err := filepath.Glob("testdata/bad/*.toml")
	if err != nil || len(files) < 40 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, file := range files {
		_, err := loadConfig(file)
		if err == nil {
			t.Errorf("%s was taken", file)
			continue
		}
		if !errors.As(err, new(configError)) {
			t.Errorf("%s: the error is a %T", file, err)
		}
		got := strings.ReplaceAll(err.Error(), file, filepath.Base(file)) + "\n"
		wantFile := strings.TrimSuffix(file, ".toml") + ".want"
		if *update {
			if err := os.WriteFile(wantFile, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(wantFile)
		if err != nil || got != string(want) {
			t.Errorf("%s:\n got %swant %s%v", file, got, want, err)
		}
	}
}

func TestMissingConfiguration(t *testing.T) {
	path := filepath.Join(t.TempDir(), "none.toml")
	if _, err := loadConfig(path); err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "--config") {
		t.Errorf("%v", err)
	}
	if _, err := loadConfig(t.TempDir()); err == nil || !errors.As(err, new(configError)) {
		t.Errorf("a directory: %v", err)
	}
}

func TestRelativePaths(t *testing.T) {
	dir := t.TempDir()
	cfg := loadText(t, dir, `
hostname = "Mail.Example.ORG"
domains = ["Bücher.example", "example.org"]
postmaster = "ana@example.org"
data = "../elsewhere"
[domain."xn--bcher-kva.example"]
catch_all = "luis@example.org"
[tls]
cert = "cert.pem"
key = "/etc/key.pem"
[smarthost."*"]
host = "smtp.example.net"
user = "u"
password_file = "secret"
[queue]
give_up_after = "1d12h"
retry = ["90s", "1d"]
`)
	for _, test := range []struct{ got, want string }{
		{cfg.Data, filepath.Join(filepath.Dir(dir), "elsewhere")},
		{cfg.TLS.Cert, filepath.Join(dir, "cert.pem")},
		{cfg.TLS.Key, "/etc/key.pem"},
		{cfg.Smarthost["*"].PasswordFile, filepath.Join(dir, "secret")},
		{cfg.Hostname, "mail.example.org"},
		{cfg.domains()[0].CatchAll, "luis@example.org"},
		{cfg.domains()[1].CatchAll, ""},
		{cfg.domains()[1].Postmaster, "ana@example.org"},
		{cfg.Queue.GiveUpAfter.String(), "1d12h"},
		{cfg.queueConfig().Schedule.Retry[1].String(), "24h0m0s"},
	} {
		if test.got != test.want {
			t.Errorf("got %s, want %s", test.got, test.want)
		}
	}
	if _, err := cfg.mxConfig(); err == nil || !strings.Contains(err.Error(), "password_file") {
		t.Errorf("a missing password file: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "secret"), []byte("pass word \r\nmore\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := cfg.mxConfig(); err != nil || out.Smarthost.Password != "pass word " {
		t.Errorf("%+v, %v", out.Smarthost, err)
	}
}

func FuzzDuration(f *testing.F) {
	for _, s := range []string{"90s", "4h", "5d", "1d12h", "1.5h", "0s", "-1s", "1e3d", "d"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var d, back duration
		if d.UnmarshalText([]byte(s)) != nil {
			t.Skip()
		}
		if err := back.UnmarshalText([]byte(d.String())); err != nil || back != d || d < 0 {
			t.Errorf("%q is %d; written as %q it reads %d, %v", s, time.Duration(d), d, back, err)
		}
	})
}
