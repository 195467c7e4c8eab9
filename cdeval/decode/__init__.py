"""The decode engine: expert and amateur in one forward pass, lanes times beams, nothing copied to reorder beams."""
