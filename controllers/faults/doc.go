// Package faults holds no code of the operator: its tests run the real manager against
// the real API server and break what lies between them. They record what the manager
// writes while a scenario is played, and play it again once for each write with the
// manager killed there, with that write refused, or with watches that lag, end and
// overtake each other. An oracle that sees the API alone judges every moment and the
// end.
package faults
