// Package etw turns records of Event Tracing for Windows into model events, on
// any operating system. Where the records come from is the business of others:
// etw/etl reads capture files, and a live session hands over the same
// [Record]s.
//
// A [Decoder] keeps what has to be known across records (loaded images,
// processes, threads, sockets, schemas) and passes each record to the
// [Handler] that a [Probe] has registered for its class and id. Probes live in
// probes/<name>/etw.go and own the payloads of one signal. A record that no
// probe takes becomes an event of kind "raw", with named fields where a schema
// is embedded in the capture or built in, so that nothing in it is invisible.
//
// Every payload is read through [Fields], which checks each length: a payload
// that is shorter than its layout makes a partial event, never a failure.
package etw
