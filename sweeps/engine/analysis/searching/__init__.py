"""What a search has learnt: the edge of its space, chance and collapse, certainty, health, replays."""
