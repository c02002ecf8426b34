"""From frames on the wire to the bytes that one reader gets: order, gaps, repair, resume."""
