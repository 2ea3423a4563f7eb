"""Visual distractions: what is shown, moved or recolored around a task without touching its dynamics or reward."""
