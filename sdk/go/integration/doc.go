// Package integration tests the SDK against a real server on a real PostgreSQL. It is a module of its own, because it needs
// a driver of PostgreSQL.
package integration
