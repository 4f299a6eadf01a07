package heap

import "testing"

// A server that did much and then nothing gives its memory back, once.
func TestRestGivesBackOnce(t *testing.T) {
	var k keeper
	k.rest()
	k.rest()
	for range 2 * worthwhile >> 16 {
		kept = make([]byte, 64<<10)
	}
	if k.rest() {
		t.Error("given back while much was done")
	}
	if !k.rest() {
		t.Error("kept although nothing is done")
	}
	if k.rest() {
		t.Error("given back again although nothing was done")
	}
}

var kept []byte // on the heap
