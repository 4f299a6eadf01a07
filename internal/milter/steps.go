package milter

import (
	"bytes"
	"encoding/binary"
	"io"

	"buzon/internal/smtp"
)

// step sends a command, unless the filter does not want it, and returns what
// the filter thinks, if it says.
func (s *session) step(command byte, m macros, unwanted, silent uint32, data ...[]byte) (opinion, *smtp.Reply, error) {
	if s.steps&unwanted != 0 {
		return goOn, nil, nil
	}
	if m != nil {
		if err := s.write(cmdMacros, m.encode(command)); err != nil {
			return 0, nil, err
		}
	}
	if err := s.write(command, data...); err != nil {
		return 0, nil, err
	}
	if s.steps&silent != 0 {
		return goOn, nil, nil
	}
	if err := s.flush(); err != nil {
		return 0, nil, err
	}
	code, answer, err := s.answer(s.patience())
	if err != nil {
		return 0, nil, err
	}
	return parseAnswer(code, answer)
}

func (s *session) connect(h Host, c Client) (opinion, *smtp.Reply, error) {
	name := c.Name
	if name == "" {
		name = "[" + c.IP.String() + "]" // as Sendmail has it
	}
	data := cString(nil, name)
	family := byte('4')
	switch {
	case !c.IP.IsValid():
		return s.step(cmdConnect, h.connect(c), noConnect, silentConnect, append(data, 'U'))
	case c.IP.Is6():
		family = '6'
	}
	data = binary.BigEndian.AppendUint16(append(data, family), c.Port)
	return s.step(cmdConnect, h.connect(c), noConnect, silentConnect, cString(data, c.IP.String()))
}

func (s *session) helo(c Client) (opinion, *smtp.Reply, error) {
	return s.step(cmdHelo, c.helo(), noHelo, silentHelo, cString(nil, c.Helo))
}

func (s *session) mail(c Client, e Envelope) (opinion, *smtp.Reply, error) {
	data := cString(nil, e.From.Path())
	for _, arg := range e.Args {
		data = cString(data, arg)
	}
	return s.step(cmdMail, c.mail(e), noMail, silentMail, data)
}

func (s *session) rcpt(id string, to smtp.Address) (opinion, *smtp.Reply, error) {
	return s.step(cmdRcpt, rcptMacros(id, to), noRcpt, silentRcpt, cString(nil, to.Path()))
}

// message shows the filter the message and returns what it wants changed.
func (s *session) message(id string, m *Message) (*changes, opinion, *smtp.Reply, error) {
	for _, part := range []func() (opinion, *smtp.Reply, error){
		func() (opinion, *smtp.Reply, error) { return s.data(id) },
		func() (opinion, *smtp.Reply, error) { return s.header(m.Header) },
		func() (opinion, *smtp.Reply, error) {
			return s.step(cmdEndHeader, idMacros(id), noEndOfHeader, silentEndOfHeader)
		},
		func() (opinion, *smtp.Reply, error) { return s.body(m) },
	} {
		if o, r, err := part(); err != nil || o != goOn {
			return nil, o, r, err
		}
	}
	return s.end(id, m)
}

func (s *session) data(id string) (opinion, *smtp.Reply, error) {
	if s.version < dataVersion {
		return goOn, nil, nil
	}
	return s.step(cmdData, idMacros(id), noData, silentData)
}

// header sends the fields, one by one, with LF between the lines of a folded
// one: filters expect that of Sendmail's C strings.
func (s *session) header(h *Header) (opinion, *smtp.Reply, error) {
	for _, f := range h.fields {
		if f.ours || f.name == "" {
			continue
		}
		value := bytes.ReplaceAll(bytes.TrimSuffix(f.value(), []byte("\r\n")), []byte("\r\n"), []byte("\n"))
		if s.steps&leadingSpace == 0 {
			value = bytes.TrimPrefix(value, []byte(" "))
		}
		if o, r, err := s.step(cmdHeader, nil, noHeaders, silentHeader, cString(nil, f.name), cString(nil, value)); err != nil || o != goOn {
			return o, r, err
		}
	}
	return goOn, nil, nil
}

func (s *session) body(m *Message) (opinion, *smtp.Reply, error) {
	if s.steps&noBody != 0 {
		return goOn, nil, nil
	}
	chunk := make([]byte, min(maxChunk, max(m.BodySize, 1)))
	for at := int64(0); at < m.BodySize; {
		n := min(int64(len(chunk)), m.BodySize-at)
		if _, err := m.Body.ReadAt(chunk[:n], at); err != nil && err != io.EOF {
			return 0, nil, &ownTrouble{err}
		}
		at += n
		o, r, err := s.step(cmdBody, nil, noBody, silentBody, chunk[:n])
		switch {
		case err == nil && o == skip:
			return goOn, nil, nil
		case err != nil || o != goOn:
			return o, r, err
		}
	}
	return goOn, nil, nil
}

// end says that the message is complete and hears the verdict.
func (s *session) end(id string, m *Message) (*changes, opinion, *smtp.Reply, error) {
	err := s.write(cmdMacros, idMacros(id).encode(cmdEnd))
	if err == nil {
		err = s.write(cmdEnd)
	}
	if err == nil {
		err = s.flush()
	}
	if err != nil {
		return nil, 0, nil, err
	}
	c := &changes{limit: m.MaxSize, newBody: m.NewBody}
	p := s.patience()
	for {
		code, data, err := s.answer(p)
		if err == nil {
			var isChange bool
			if isChange, err = c.take(s, code, data); isChange && err == nil {
				continue
			}
		}
		if err != nil {
			c.discard()
			return nil, 0, nil, err
		}
		o, r, err := parseAnswer(code, data)
		if err == nil && o != refuse && o != discard {
			err = c.finish()
		}
		if err != nil || o == refuse || o == discard {
			c.discard()
			return nil, o, r, err
		}
		return c, goOn, nil, nil
	}
}

// ownTrouble is an error that is no fault of the filter's.
type ownTrouble struct{ error }

func (e *ownTrouble) Unwrap() error { return e.error }
