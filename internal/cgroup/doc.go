//go:build !linux

// Package cgroup is for Linux only.
package cgroup
