"""Visual distractions: what is shown, moved or recoloured around a task without touching its dynamics or reward."""
