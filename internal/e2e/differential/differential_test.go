package differential

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"buzon/imapd"
	"buzon/internal/account"
	"buzon/maildir"
)

// TestAgainstDovecot plays sequences to Debian's Dovecot and to us. BUZON_DIFFERENTIAL is how many, BUZON_DIFFERENTIAL_SEED the first of them.
func TestAgainstDovecot(t *testing.T) {
	t.Parallel()
	set := func(key string, otherwise uint64) uint64 {
		if n, err := strconv.ParseUint(os.Getenv(key), 10, 64); err == nil {
			return n
		}
		return otherwise
	}
	count, first := set("BUZON_DIFFERENTIAL", 300), set("BUZON_DIFFERENTIAL_SEED", 1)
	theirs := newDovecot(t)
	ours := newOurs(t)
	corpus, err := Corpus("../../message/testdata/0*.eml", "../../message/testdata/1[0-2679]-*.eml", "../../../imapd/testdata/mail/*.eml")
	if err != nil || len(corpus) == 0 {
		t.Fatal("no corpus", err)
	}
	var next, found atomic.Uint64
	var workers sync.WaitGroup
	for range 3 {
		workers.Go(func() {
			for found.Load() < set("BUZON_DIFFERENTIAL_FINDS", 10) {
				seed := first + next.Add(1) - 1
				if seed >= first+count {
					return
				}
				d, err := once(theirs.dir, seed, ours, theirs, corpus)
				switch {
				case err != nil:
					found.Add(1)
					t.Error(err)
				case d != nil:
					found.Add(1)
					t.Error(d)
				}
			}
		})
	}
	workers.Wait()
	if log, _ := os.ReadFile(filepath.Join(theirs.dir, "log")); strings.Contains(string(log), "Panic") || strings.Contains(string(log), "Error") {
		t.Logf("Dovecot says\n%.2000s", log)
	}
}

func once(dir string, seed uint64, ours, theirs Server, corpus [][]byte) (*Difference, error) {
	work, err := os.MkdirTemp(dir, "sequence")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(work)
	if err := os.Chmod(work, 0o755); err != nil {
		return nil, err
	}
	dirs := [2]string{filepath.Join(work, "ours/mail/buzon.test/ana/Maildir"), filepath.Join(work, "theirs/Maildir")}
	return Run(seed, ours, theirs, dirs, corpus)
}

// ourServer is imapd in this process.
type ourServer struct{ directory *account.Directory }

const password = "Zanja-corriente-9"

func newOurs(t *testing.T) *ourServer {
	t.Helper()
	d, err := account.Open(account.Config{Dir: t.TempDir(), Domains: []account.Domain{{Name: "buzon.test"}}, Hostname: "buzon.test", Log: slog.New(slog.DiscardHandler)})
	if err == nil {
		err = d.Add(t.Context(), "ana@buzon.test", password, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	return &ourServer{d}
}

func (o *ourServer) Name() string { return "ours" }

type ourAccount struct {
	addr  string
	stop  context.CancelFunc
	done  chan error
	store *maildir.Store
}

func (o *ourServer) Serve(dir string) (Account, error) {
	quiet := slog.New(slog.DiscardHandler)
	mail := strings.TrimSuffix(dir, "/buzon.test/ana/Maildir")
	store, err := maildir.Open(maildir.Config{Mail: mail, State: mail + "-state", Host: "buzon.test", Log: quiet})
	if err != nil {
		return nil, err
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	a := &ourAccount{addr: ln.Addr().String(), stop: stop, done: make(chan error, 1), store: store}
	srv := imapd.New(imapd.Config{Store: store, Directory: o.directory, Hostname: "buzon.test", Log: quiet, PlaintextFromLoopback: true})
	go func() { a.done <- srv.Serve(ctx, ln, false) }()
	return a, nil
}

func (a *ourAccount) Dial() (net.Conn, string, error) {
	nc, err := net.Dial("tcp", a.addr)
	return nc, fmt.Sprintf("LOGIN ana@buzon.test %s", password), err
}

func (a *ourAccount) Close() error {
	a.stop()
	<-a.done
	return a.store.Close()
}

// dovecot is Debian's imap program, one process for each connection, as its login service would start it.
type dovecot struct {
	dir string
	env []string // what doveconf makes of the configuration
}

const nobody = 65534

func newDovecot(t *testing.T) *dovecot {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("only root can start Dovecot for somebody else")
	}
	if _, err := os.Stat("/usr/lib/dovecot/imap"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("dovecot-imapd is not installed")
		}
		t.Skip("dovecot-imapd is not installed")
	}
	dir, err := os.MkdirTemp("", "differential")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	conf := filepath.Join(dir, "dovecot.conf")
	err = os.WriteFile(conf, fmt.Appendf(nil, `base_dir = %[1]s/run
log_path = %[1]s/log
mail_location = maildir:~/Maildir
ssl = no
first_valid_uid = 1
mail_fsync = never
stats_writer_socket_path =
namespace inbox {
  separator = /
  inbox = yes
}
`, dir), 0o644)
	if err != nil {
		t.Fatal(err)
	}
	// What doveconf makes of it is what the imap program reads, without starting doveconf each time.
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "doveconf", "-f", "service=imap", "-c", conf, "-m", "imap", "-e", "/usr/bin/env", "-0")
	cmd.WaitDelay = time.Second
	cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
	env, err := cmd.Output()
	if err != nil {
		t.Fatalf("doveconf: %v", err)
	}
	return &dovecot{dir, strings.Split(strings.TrimRight(string(env), "\x00"), "\x00")}
}

func (d *dovecot) Name() string { return "dovecot" }

type dovecotAccount struct {
	*dovecot
	home string
}

func (d *dovecot) Serve(dir string) (Account, error) {
	home := filepath.Dir(dir)
	err := filepath.WalkDir(home, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Chown(path, nobody, nobody)
	})
	return &dovecotAccount{d, home}, err
}

func (a *dovecotAccount) Dial() (net.Conn, string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	cmd := exec.CommandContext(ctx, "/usr/lib/dovecot/imap")
	cmd.WaitDelay = 10 * time.Second
	cmd.Env = append(slices.Clone(a.env), "HOME="+a.home, "USER=ana", "TZ=UTC")
	cmd.Dir = a.home
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}, Setpgid: true, Pdeathsig: syscall.SIGKILL}
	mine, its, err := socketPair()
	if err != nil {
		cancel()
		return nil, "", err
	}
	defer its.Close()
	cmd.Stdin, cmd.Stdout = its, its
	if err := cmd.Start(); err != nil {
		cancel()
		mine.Close()
		return nil, "", err
	}
	return &process{mine, cmd, cancel}, "", nil
}

func (a *dovecotAccount) Close() error { return nil }

// process is a connection to a program that ends with it.
type process struct {
	net.Conn
	cmd    *exec.Cmd
	cancel context.CancelFunc
}

func (p *process) Close() error {
	p.Conn.Close()
	_ = p.cmd.Wait()
	p.cancel()
	return nil
}

func socketPair() (net.Conn, *os.File, error) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	mine := os.NewFile(uintptr(fds[0]), "mine")
	defer mine.Close()
	nc, err := net.FileConn(mine)
	return nc, os.NewFile(uintptr(fds[1]), "its"), err
}
