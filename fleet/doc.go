// Package fleet reads the findings of many hosts from a store of logs, to which `lostbeat record --otlp` and
// `lostbeat watch --otlp` send them, and joins those that say the same.
package fleet
