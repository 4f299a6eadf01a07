package managesieve

import (
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"time"

	"buzon/internal/account"
	"buzon/internal/sasl"
	"buzon/internal/sieve"
)

// command is one row of the table: what it takes, and when it may come.
type command struct {
	args  string // s: a string, n: a number; capitals may be left out
	login bool   // only after a login
	run   func(c *session, args []arg) error
}

// commands are those of RFC 5804 2, by their names.
func commands() map[string]command {
	return map[string]command{
		"AUTHENTICATE":   {"sS", false, (*session).authenticate},
		"STARTTLS":       {"", false, (*session).startTLS},
		"LOGOUT":         {"", false, (*session).logout},
		"CAPABILITY":     {"", false, (*session).capability},
		"NOOP":           {"S", false, (*session).noop},
		"UNAUTHENTICATE": {"", true, (*session).unauthenticate},
		"HAVESPACE":      {"sn", true, (*session).haveSpace},
		"PUTSCRIPT":      {"ss", true, (*session).putScript},
		"CHECKSCRIPT":    {"s", true, (*session).checkScript},
		"LISTSCRIPTS":    {"", true, (*session).listScripts},
		"SETACTIVE":      {"s", true, (*session).setActive},
		"GETSCRIPT":      {"s", true, (*session).getScript},
		"DELETESCRIPT":   {"s", true, (*session).deleteScript},
		"RENAMESCRIPT":   {"ss", true, (*session).renameScript},
	}
}

// fits reports whether the arguments are what the row says.
func (k command) fits(args []arg) bool {
	for i, form := range k.args {
		if i == len(args) {
			return form == 'S'
		}
		if args[i].isText != (form == 's' || form == 'S') {
			return false
		}
	}
	return len(args) <= len(k.args)
}

// command runs one command and writes its answer. An error ends the session.
func (c *session) command(name string, args []arg) error {
	k, known := commands()[name]
	var err error
	switch {
	case !known:
		err = c.nonsense("There is no such command")
	case !k.fits(args):
		err = c.nonsense("These are not the arguments of " + name)
	case k.login && c.account.ID == "":
		err = c.nonsense("Authenticate first")
	case k.login && c.srv.cfg.Directory.Generation(c.account.ID) != c.account.Generation:
		c.status("BYE", "", "The account has changed, log in again")
		c.over = true
		return nil
	default:
		err = k.run(c, args)
	}
	var a *answer
	switch {
	case err == nil:
		c.status("OK", "", "Done")
	case errors.As(err, &a):
		c.status("NO", a.code, a.text)
	case errors.As(err, new(*trouble)):
		c.log.Error("command failed", "user", c.user(), "err", err)
		c.status("NO", "TRYLATER", "There is trouble here, try again later")
	case errors.Is(err, errSaid):
	case errors.Is(err, errBye):
		c.over = true
	default:
		return err
	}
	return nil
}

// errSaid says that the answer is written.
var errSaid = errors.New("answered")

func (c *session) nonsense(text string) error {
	if c.bad++; c.bad > maxBad {
		c.status("BYE", "", "Too many commands that make no sense")
		return errBye
	}
	return no("", text)
}

func (c *session) capability([]arg) error {
	c.capabilities()
	return nil
}

func (c *session) logout([]arg) error {
	c.status("OK", "", "Goodbye")
	return errBye
}

// noop answers with the tag that it is given (RFC 5804 2.13).
func (c *session) noop(args []arg) error {
	if len(args) == 0 {
		return nil
	}
	c.status("OK", "TAG "+quote(args[0].text), "Done")
	return errSaid
}

func (c *session) unauthenticate([]arg) error {
	c.account = account.Account{}
	c.begun = time.Now()
	return nil
}

// startTLS forgets everything that came before the handshake: it was said in
// the open (RFC 5804 2.2).
func (c *session) startTLS([]arg) error {
	switch {
	case c.srv.cfg.TLS == nil:
		return no("", "There is no TLS here")
	case c.tls != nil:
		return no("", "TLS is on")
	case c.r.Buffered() > 0:
		c.status("BYE", "", "Nothing may follow STARTTLS before the handshake")
		return errBye
	}
	c.status("OK", "", "Begin TLS")
	if err := c.flush(); err != nil {
		return err
	}
	conn := tls.Server(c.nc, c.srv.cfg.TLS)
	conn.SetDeadline(time.Now().Add(30 * time.Second))
	if err := conn.HandshakeContext(c.ctx); err != nil {
		c.log.Debug("no TLS", "err", err)
		return err
	}
	conn.SetDeadline(time.Time{})
	c.use(conn)
	state := conn.ConnectionState()
	c.tls = &state
	c.capabilities() // RFC 5804 2.2: unasked
	c.status("OK", "", "TLS is on")
	return errSaid
}

// authenticate is a SASL exchange (RFC 5804 2.1); the mechanisms are those of
// package sasl.
func (c *session) authenticate(args []arg) error {
	if c.account.ID != "" {
		return no("", "You are authenticated")
	}
	x, err := c.srv.cfg.Logins.Start(c.ctx, c.client(), args[0].text)
	if err != nil {
		return refusal(err)
	}
	var response []byte
	if len(args) == 2 {
		if response, err = decode(args[1].text); err != nil {
			return err
		}
	}
	for {
		challenge, done, err := x.Next(response)
		if err != nil {
			return refusal(err)
		}
		if done {
			c.account = x.Account
			c.log.Info("login", "user", string(c.account.ID))
			if len(challenge) > 0 {
				c.status("OK", "SASL "+quote(base64.StdEncoding.EncodeToString(challenge)), "You are authenticated")
				return errSaid
			}
			return nil
		}
		c.w.WriteString(quote(base64.StdEncoding.EncodeToString(challenge)) + "\r\n")
		if err := c.flush(); err != nil {
			return err
		}
		c.await()
		// The response is a string on a line of its own.
		a, err := argument(c.r, true)
		if err == nil {
			_, _, err = readCommand(c.r, true)
		}
		switch {
		case err != nil:
			return err
		case a.text == "*":
			return no("", "Authentication cancelled")
		}
		if response, err = decode(a.text); err != nil {
			return err
		}
	}
}

// decode reads a response, which is never nil: that would be none.
func decode(s string) ([]byte, error) {
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil || len(s) > maxString {
		return nil, no("", "This is not base64")
	}
	return append([]byte{}, b...), nil
}

// refusal words why a login came to nothing.
func refusal(err error) error {
	switch {
	case errors.Is(err, sasl.ErrInsecure):
		return no("ENCRYPT-NEEDED", "Logins only after STARTTLS")
	case errors.Is(err, sasl.ErrMechanism):
		return no("", "There is no such mechanism")
	case errors.Is(err, sasl.ErrBusy), errors.Is(err, sasl.ErrUnavailable), errors.Is(err, sasl.ErrGuessing):
		return no("TRYLATER", "This cannot be checked now, try again later")
	case errors.Is(err, sasl.ErrMalformed):
		return no("", "Malformed response")
	}
	return no("", "Login or password is wrong")
}

func (c *session) user() string { return string(c.account.ID) }

func (c *session) haveSpace(args []arg) error {
	return scriptAnswer(c.srv.cfg.Scripts.HaveSpace(c.user(), args[0].text, int64(args[1].number)))
}

func (c *session) putScript(args []arg) error {
	if args[1].over {
		return scriptAnswer(sieve.ErrQuota)
	}
	return c.changed("put", args[0].text, c.srv.cfg.Scripts.Put(c.user(), args[0].text, []byte(args[1].text)))
}

func (c *session) checkScript(args []arg) error {
	if args[0].over {
		return scriptAnswer(sieve.ErrQuota)
	}
	_, err := sieve.Compile([]byte(args[0].text))
	return scriptAnswer(err)
}

func (c *session) listScripts([]arg) error {
	list, err := c.srv.cfg.Scripts.List(c.user())
	for _, e := range list {
		c.w.WriteString(quote(e.Name))
		if e.Active {
			c.w.WriteString(" ACTIVE")
		}
		c.w.WriteString("\r\n")
	}
	return scriptAnswer(err)
}

func (c *session) setActive(args []arg) error {
	return c.changed("activate", args[0].text, c.srv.cfg.Scripts.Activate(c.user(), args[0].text))
}

func (c *session) getScript(args []arg) error {
	source, err := c.srv.cfg.Scripts.Get(c.user(), args[0].text)
	if err != nil {
		return scriptAnswer(err)
	}
	fmt.Fprintf(c.w, "{%d}\r\n%s\r\n", len(source), source)
	return nil
}

func (c *session) deleteScript(args []arg) error {
	return c.changed("delete", args[0].text, c.srv.cfg.Scripts.Delete(c.user(), args[0].text))
}

func (c *session) renameScript(args []arg) error {
	return c.changed("rename", args[0].text, c.srv.cfg.Scripts.Rename(c.user(), args[0].text, args[1].text))
}

// changed logs what was done to a script.
func (c *session) changed(what, name string, err error) error {
	if err == nil {
		c.log.Info("script", "user", c.user(), "op", what, "script", name)
	}
	return scriptAnswer(err)
}

// scriptAnswer gives an error of the library its response code (RFC 5804 1.3).
func scriptAnswer(err error) error {
	var wrong *sieve.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &wrong):
		return no("", wrong.Error())
	case errors.Is(err, sieve.ErrNoScript):
		return no("NONEXISTENT", err.Error())
	case errors.Is(err, sieve.ErrExists):
		return no("ALREADYEXISTS", err.Error())
	case errors.Is(err, sieve.ErrActive):
		return no("ACTIVE", err.Error())
	case errors.Is(err, sieve.ErrQuota):
		return no("QUOTA", fmt.Sprintf("%v: a script has at most %d bytes, all together %d, and there are at most %d", err, sieve.MaxScript, sieve.MaxStored, sieve.MaxScripts))
	case errors.Is(err, sieve.ErrTitle):
		return no("", err.Error())
	}
	return &trouble{err}
}

// trouble is an error of ours. The client hears no more than that.
type trouble struct{ cause error }

func (t *trouble) Error() string { return t.cause.Error() }
