"""The contract that every source of commits keeps."""
