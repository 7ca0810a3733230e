"""What many flags cost: loading, memory, snapshots, the export, large commits."""
