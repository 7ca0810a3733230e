// Package flagent follows the feature flags of a flagent-cdc server: typed events of every committed change, and a live
// local copy that is read without network and without locks.
//
// A [Client] keeps one connection, and resumes after a lost one without losing or repeating an event. A [Store] is a copy
// of flags that a client keeps current. Subscriptions call handlers, one at a time and in order; [Client.Events] and
// [Client.Channel] deliver the same events to loops.
package flagent
