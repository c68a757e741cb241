"""What writes the generated parts of these pages, and what measures the shape of the code that they describe."""
