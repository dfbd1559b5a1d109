// Package recordpb is the published form of the recording format: record.proto
// and the code that protoc generates from it. Package record encodes and decodes
// by hand what is hot, and its tests hold that against the generated code.
package recordpb

//go:generate protoc --go_out=. --go_opt=paths=source_relative record.proto
