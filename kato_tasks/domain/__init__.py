"""What the words of the glossary mean, as pure code: nothing here does input or output."""
