package sieve

// mailboxExists compiles the test of RFC 5490 3.1.
func (c *compiler) mailboxExists(n node) (check, error) {
	p := c.params(n, nil, 1, 1)
	p.need("mailbox")
	names := p.list(0)
	return func(r *run) (bool, error) {
		for _, name := range values(r, names) {
			if err := r.spend(stepWork); err != nil {
				return false, err
			}
			if r.env.Mailboxes != nil && !r.env.Mailboxes.Exists(r.ctx, name) {
				return false, nil
			}
		}
		return true, nil
	}, p.err
}

// specialUseExists compiles the test of RFC 8579 3: whether there are
// mailboxes with all of some uses, or whether one has them all.
func (c *compiler) specialUseExists(n node) (check, error) {
	p := c.params(n, nil, 1, 2)
	p.need("special-use")
	mailbox, i := text{}, 0
	if len(p.args) == 2 {
		mailbox, i = p.text(0), 1
	}
	uses := p.list(i)
	return func(r *run) (bool, error) {
		want := mailbox.value(r)
		for _, use := range values(r, uses) {
			if r.env.Mailboxes == nil {
				return false, nil
			}
			has := r.env.Mailboxes.WithUse(r.ctx, use)
			if has == "" || want != "" && !sameMailbox(has, want) {
				return false, nil
			}
		}
		return true, nil
	}, p.err
}
