package redact

import (
	"sync"

	"lostbeat/model"
)

// Shared is a Redactor for several goroutines.
type Shared struct {
	mu       sync.Mutex
	redactor *Redactor
}

// Share returns a Redactor for several goroutines. The given one must not be used beside it.
func Share(r *Redactor) *Shared { return &Shared{redactor: r} }

// Learn takes the names that a batch has, without changing it.
func (s *Shared) Learn(b *model.Batch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.redactor.Learn(b)
}

// Batch returns b with pseudonyms. Names that come in later batches are not known yet.
func (s *Shared) Batch(b *model.Batch) *model.Batch {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.redactor.Batch(b)
}

// Full says that there were more names than NewBounded allows.
func (s *Shared) Full() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.redactor.Full()
}

// Write implements pipeline.Sink: it learns.
func (s *Shared) Write(b *model.Batch) error {
	s.Learn(b)
	return nil
}

// Finding replaces all names in a finding.
func (s *Shared) Finding(f model.Finding) model.Finding {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.redactor.Finding(f)
}

// Text replaces all names, addresses and paths in a text.
func (s *Shared) Text(text string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.redactor.Text(text)
}

// Address returns the pseudonym of an address in text; what is none is redacted as a text.
func (s *Shared) Address(text string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.redactor.Address(text)
}

// Netns returns the pseudonym of a network namespace.
func (s *Shared) Netns(name string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.redactor.name(kindNetns, name)
}
