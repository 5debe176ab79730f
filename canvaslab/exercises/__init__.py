"""The exercises of the course, one module a notebook: `nbNN.EXERCISES`; `canvaslab.lab.exercises` checks answers."""
